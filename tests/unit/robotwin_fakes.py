"""A checkout with RoboTwin's interface, as files: its packages are imported by the adapter's own process, never here."""

from __future__ import annotations

from pathlib import Path

FILES = {
    "envs/__init__.py": "",
    "envs/_base_task.py": "",
    "envs/utils/__init__.py": "",
    "envs/utils/create_actor.py": "class UnStableError(Exception):\n    pass\n",
    "envs/turn_switch.py": '''
import numpy as np
from .utils.create_actor import UnStableError


class turn_switch:
    """The left arm's first joint turns the switch: the goal holds at 2 rad. Every third seed is not solvable, in one way or another."""

    def setup_demo(self, now_ep_num, seed, is_test, **given):
        assert is_test and given["eval_mode"] and given["task_name"] == "turn_switch" and not getattr(self, "open", False)
        assert given["left_embodiment_config"] == {"arm_joints_name": [["a"], ["b"]]}
        self.open = True
        if seed % 9 == 1:
            raise UnStableError("it fell over")
        np.random.seed(seed)
        self.seed, self.joints, self.eval_success = seed, np.zeros(14), False
        self.hard = given["domain_randomization"]["cluttered_table"]

    def play_once(self):
        if self.seed % 9 == 4:
            raise ValueError("no plan")
        self.plan_success = self.seed % 9 != 7
        self.joints[0] = 2
        return {"info": {"{A}": str(self.seed)}}

    def check_success(self):
        return self.joints[0] >= 2

    def close_env(self):
        assert self.open
        self.open = False

    def set_instruction(self, instruction):
        assert instruction.endswith(str(self.seed))

    def get_obs(self):
        rgb = np.full((240, 320, 3), 200 if self.hard else 100, np.uint8)
        names = ("head_camera", "left_camera", "right_camera")
        views = {name: {"rgb": rgb + k} for k, name in enumerate(names)}
        return {"observation": views, "joint_action": {"vector": self.joints}}

    def take_action(self, action):
        self.joints = np.array(action)
        self.eval_success = bool(self.check_success())
''',
    "description/utils/generate_episode_instructions.py": """
def generate_episode_descriptions(task, episodes, most):
    return [{"seen": ["no"], "unseen": [f"turn the switch {e['{A}']}", f"flip the switch {e['{A}']}"]} for e in episodes]
""",
    "task_config/demo_clean.yml": "embodiment: [aloha]\ncamera: {head_camera_type: D435}\ndomain_randomization: {cluttered_table: false}\n",
    "task_config/demo_randomized.yml": "embodiment: [aloha]\ncamera: {head_camera_type: D435}\n"
    "domain_randomization: {cluttered_table: true}\n",
    "task_config/_camera_config.yml": "D435: {w: 320, h: 240, fovy: 37}\n",
    "task_config/_embodiment_config.yml": "aloha: {file_path: ./assets/embodiments/aloha/}\n",
    "task_config/_eval_step_limit.yml": "turn_switch: 12\n",
    "assets/embodiments/aloha/config.yml": "arm_joints_name: [[a], [b]]\n",
}


def checkout(root: Path) -> Path:
    """Write it."""
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root
