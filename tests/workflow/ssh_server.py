"""An SSH server on this machine that offers a folder over SFTP: `python ssh_server.py FOLDER HOST_KEY AUTHORIZED_KEYS` prints its port."""

import asyncio
import sys

import asyncssh


async def main(folder, host_key, authorized):
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=authorized,
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=folder),
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.wait_closed()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
