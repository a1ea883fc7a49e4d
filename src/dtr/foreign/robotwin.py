"""RoboTwin 2.0's official simulator (SAPIEN), offered to `dtr rollout --robot`. It runs in RoboTwin's own environment (docs/robotwin.md):

    python -m dtr.foreign.robotwin freeze --root RoboTwin --task turn_switch --setting easy --states 100 --out turn_switch-easy.json
    python -m dtr.foreign.robotwin offer  --root RoboTwin --frozen turn_switch-easy.json --address robotwin.socket
    dtr rollout --robot robotwin.socket --policy ... --protocol '{"name": "robotwin", "trials": 100, "chunk": 50, "settle_steps": 0, ...}'

RoboTwin's evaluation draws seeds from 100000 on, lets its expert play each of them, and evaluates those that the expert solves, with an
instruction drawn among its unseen ones. `freeze` does that once and writes seeds and instructions down, so every arm plays the same 100
scenes, in the same words, and arms can be compared in pairs. Easy is its `demo_clean`, Hard its `demo_randomized`.

Numbers: `dtr.robots`, aloha: both arms' joints, absolute. Pictures: head, left wrist, right wrist, 320 x 240, in black bars to 320 x 320.
Written from RoboTwin's stable_2.0 at 13c3c47 (script/eval_policy.py); tested against a simulator of its interface, not run on its assets.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dtr.errors import BadConfig, MissingAssets, MissingLibrary, unknown
from dtr.robots import robot
from dtr.wire.address import parse_address
from dtr.wire.message import Array
from dtr.wire.robot import EpisodeFailed, RobotHello, RobotTask, offer

REVISION = "13c3c47ff4312dd62484bcd51be034af55c062d1"
SETTINGS = {"easy": "demo_clean", "hard": "demo_randomized"}
CAMERAS = ("head_camera", "left_camera", "right_camera")
FIRST_SEED = 100_000
UNSEEN = "unseen"
IMAGE_SIZE = 320
"""Of the square that a picture of 320 x 240 is centred in; every image path of ours shrinks from there."""
UNSOLVED = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What the expert's planner may end in. The official evaluation skips such a seed whatever was raised, so its list of seeds needs it."""
MOST_SKIPPED = 1000


def add_path(root: Path) -> None:
    """Make RoboTwin importable and its relative paths right. Raises MissingAssets when `root` is no checkout of it."""
    if not (root / "envs/_base_task.py").is_file() or not (root / "task_config").is_dir():
        raise MissingAssets(f"expected a checkout of RoboTwin (branch stable_2.0, {REVISION}) at {root}: clone it there.")
    sys.path[:0] = [str(root), str(root / "description/utils")]
    os.chdir(root)


def settings(root: Path, task: str, setting: str) -> dict[str, Any]:
    """The arguments that `setup_demo` gets in the official evaluation. Raises UnknownName, MissingAssets."""
    if setting not in SETTINGS:
        raise unknown("setting of RoboTwin", setting, SETTINGS)
    config = read_yaml(root / f"task_config/{SETTINGS[setting]}.yml")
    cameras = read_yaml(root / "task_config/_camera_config.yml")[config["camera"]["head_camera_type"]]
    (body,) = config["embodiment"]
    folder = read_yaml(root / "task_config/_embodiment_config.yml")[body]["file_path"]
    arms = read_yaml(root / folder / "config.yml")
    return {
        **config,
        "task_name": task,
        "task_config": SETTINGS[setting],
        "head_camera_h": cameras["h"],
        "head_camera_w": cameras["w"],
        "left_robot_file": folder,
        "right_robot_file": folder,
        "dual_arm_embodied": True,
        "left_embodiment_config": arms,
        "right_embodiment_config": arms,
        "eval_mode": True,
        "eval_video_save_dir": None,
        "render_freq": 0,
    }


def read_yaml(path: Path) -> Any:
    """A YAML file of RoboTwin's. Raises MissingAssets."""
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingAssets(f"expected {path} ({error.strerror}): fetch RoboTwin's assets by its script/_download_assets.sh.") from error


def environment(task: str) -> Any:
    """RoboTwin's class of a task, built. Raises MissingLibrary, UnknownName."""
    try:
        importlib.import_module("envs")
    except ImportError as error:
        raise MissingLibrary(f"RoboTwin does not import here ({error}): run this in its own environment, docs/robotwin.md.") from error
    try:
        return getattr(importlib.import_module(f"envs.{task}"), task)()
    except (ModuleNotFoundError, AttributeError) as error:
        known = sorted(path.stem for path in Path("envs").glob("[a-z]*.py"))
        raise unknown("task of RoboTwin", task, known) from error


def solvable(env: Any, given: Mapping[str, Any], describe: Callable[[Any], str]) -> Iterator[dict[str, Any]]:
    """Seed and instruction of every scene that the expert solves, in order, as the official evaluation finds them."""
    from envs.utils.create_actor import UnStableError  # type: ignore[import-not-found]  # RoboTwin's

    found = 0
    for seed in range(FIRST_SEED, sys.maxsize):
        if seed - FIRST_SEED > MOST_SKIPPED + 10 * found:
            raise BadConfig(
                f"RoboTwin's expert solved {found} of {seed - FIRST_SEED} scenes of {given['task_name']}: see its assets and planner."
            )
        try:
            env.setup_demo(now_ep_num=found, seed=seed, is_test=True, **given)
            info = env.play_once()
        except (UnStableError, *UNSOLVED):
            env.close_env()
            continue
        env.close_env()
        if not (env.plan_success and env.check_success()):
            continue
        env.setup_demo(now_ep_num=found, seed=seed, is_test=True, **given)  # seeds NumPy, from which the instruction is drawn
        yield {"seed": seed, "instruction": describe(info["info"])}
        env.close_env()
        found += 1


def freeze(root: Path, task: str, setting: str, states: int) -> dict[str, Any]:
    """What is to be written down of a task."""
    given, env = settings(root, task, setting), environment(task)
    from generate_episode_instructions import generate_episode_descriptions  # type: ignore[import-not-found]  # RoboTwin's

    def describe(info: Any) -> str:
        return str(np.random.choice(generate_episode_descriptions(task, [info], states)[0][UNSEEN]))  # noqa: NPY002 - as there

    scenes = solvable(env, given, describe)
    limit = read_yaml(root / "task_config/_eval_step_limit.yml")[task]
    frozen = [next(scenes) for _ in range(states)]
    return {"task": task, "setting": setting, "revision": REVISION, "max_steps": limit, "scenes": frozen}


class RoboTwin:
    """One task in one setting: `frozen` as `freeze` writes it, `env` RoboTwin's, `given` the arguments of its `setup_demo`."""

    def __init__(self, frozen: Mapping[str, Any], env: Any, given: Mapping[str, Any]) -> None:
        self.scenes, self.env, self.given, self.open = frozen["scenes"], env, given, False
        told = tuple(str(scene["instruction"]) for scene in self.scenes)
        task, name = RobotTask(frozen["task"], told[0], told), f"robotwin_{frozen['task']}_{frozen['setting']}"
        numbers = robot("aloha")
        self.hello = RobotHello(
            name, (task,), len(told), int(frozen["max_steps"]), json.dumps([frozen["revision"], [s["seed"] for s in self.scenes]]),
            cameras=len(CAMERAS), state_dim=len(numbers.state), action_dim=len(numbers.actions), robot="aloha",
        )  # fmt: skip

    def reset(self, task: str, state: int, seed: int, settle_steps: int, image_size: int) -> None:
        """Build the scene; it has come to rest when RoboTwin hands it over. The protocol's seed is not used: a scene has its own."""
        if settle_steps or image_size != IMAGE_SIZE:
            raise BadConfig(
                f"RoboTwin needs settle_steps 0 and image_size {IMAGE_SIZE} in the protocol, got {settle_steps} and {image_size}."
            )
        from envs.utils.create_actor import UnStableError

        self.halt()
        scene = self.scenes[state]
        try:
            self.env.setup_demo(now_ep_num=state, seed=scene["seed"], is_test=True, **self.given)
        except UnStableError as error:
            raise EpisodeFailed(f"scene {scene['seed']} does not come to rest here: {error}") from error
        self.open = True
        self.env.set_instruction(instruction=scene["instruction"])

    def observe(self) -> tuple[Array, Array]:
        """Pictures (3, 320, 320, 3) and joints (14,)."""
        seen = self.env.get_obs()
        images = np.stack([squared(np.asarray(seen["observation"][camera]["rgb"], np.uint8)) for camera in CAMERAS])
        return images, np.asarray(seen["joint_action"]["vector"], np.float32)

    def step(self, action: Array) -> bool:
        """One waypoint: RoboTwin plans to it, goes there, and watches the goal at every step of its physics."""
        self.env.take_action(np.asarray(action, np.float64))
        return bool(self.env.eval_success)

    def halt(self) -> None:
        """Free the scene."""
        if self.open:
            self.env.close_env()
        self.open = False


def squared(picture: Array) -> Array:
    """(H, W, 3) -> (S, S, 3), S = 320, in the middle of black. EpisodeFailed for a larger one."""
    height, width = picture.shape[:2]
    if max(height, width) > IMAGE_SIZE:
        raise EpisodeFailed(f"expected pictures of at most {IMAGE_SIZE} pixels, got {height} x {width}")
    top, left = (IMAGE_SIZE - height) // 2, (IMAGE_SIZE - width) // 2
    return np.pad(picture, ((top, IMAGE_SIZE - height - top), (left, IMAGE_SIZE - width - left), (0, 0)))


def main() -> None:
    """`freeze` the scenes of a task, or `offer` them until Ctrl-C."""
    p = argparse.ArgumentParser(prog="python -m dtr.foreign.robotwin", description="Offer RoboTwin 2.0 to `dtr rollout --robot`.")
    verbs = p.add_subparsers(dest="verb", required=True)
    first, second = verbs.add_parser("freeze", help="find the scenes once"), verbs.add_parser("offer", help="serve them")
    for verb in (first, second):
        verb.add_argument("--root", type=Path, required=True, help="RoboTwin's checkout, with its assets")
    first.add_argument("--task", required=True)
    first.add_argument("--setting", required=True, choices=SETTINGS)
    first.add_argument("--states", type=int, default=100, help="scenes (default 100, as the official evaluation)")
    first.add_argument("--out", type=Path, required=True)
    second.add_argument("--frozen", type=Path, required=True, help="what `freeze` wrote")
    second.add_argument("--address", required=True, help="HOST:PORT or path of a Unix socket")
    args = p.parse_args()
    root, written = args.root.resolve(), (args.out if args.verb == "freeze" else args.frozen).resolve()
    add_path(root)
    if args.verb == "freeze":
        written.write_text(json.dumps(freeze(root, args.task, args.setting, args.states), indent=1) + "\n", encoding="utf-8")
        return
    frozen = json.loads(written.read_text(encoding="utf-8"))
    served = RoboTwin(frozen, environment(frozen["task"]), settings(root, frozen["task"], frozen["setting"]))
    offer(served, parse_address(args.address), lambda found: print(found, flush=True))


if __name__ == "__main__":
    main()
