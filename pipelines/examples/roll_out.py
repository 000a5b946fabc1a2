# %% [markdown]
# # Roll out a policy and watch it
# Loads the policy of the demo, lets it lift cubes on the simulated table, and writes a film. Run it from the
# repository.
# The loop is the same for a robot: observe, ask for a chunk of commands, execute its start, ask again.

# %%
from pathlib import Path

import vita_model
from vita_data.types import Image
from vita_model.sims.results.film import write_film
from vita_model.sims.tabletop.task import TASKS, TabletopTask

POLICY = Path("pipelines/demo_policy")  # or a run of your own: runs/finetune
REPLAN_STEPS = 10
NUM_EPISODES = 5

policy = vita_model.VitaPolicy.from_pretrained(POLICY)
print(policy.signature)


# %%
def see(task: TabletopTask) -> dict[str, Image]:
    # The simulator renders upside down, as robosuite does; the policy was trained on pictures turned by 180 degrees.
    return {str(role): picture[::-1, ::-1].copy() for role, picture in task.images().items()}


def observe(task: TabletopTask) -> dict[str, object]:
    """What a robot's driver would give: pictures, instruction, measurements."""
    arm = task.proprioception()
    return {
        **see(task),
        "instruction": task.spec.instruction,
        "position_m": arm.xyz_m,
        "quaternion_xyzw": arm.quaternion_xyzw,
        "gripper_open": (arm.fingers_m[0] - arm.fingers_m[1]) / 0.08,
        "joints_rad": arm.joints_rad,
    }


def roll_out(task: TabletopTask, seed: int) -> tuple[bool, list[Image]]:
    task.reset(seed)
    pictures: list[Image] = []
    while len(pictures) < task.spec.max_steps and not task.is_success:
        for command in policy.act(observe(task), convention="libero")[:REPLAN_STEPS]:
            pictures.append(see(task)["primary"])
            task.step(command)
    return task.is_success, [*pictures, see(task)["primary"]]


# %%
task = TabletopTask(TASKS["lift_red"])
episodes = [
    roll_out(task, seed) for seed in range(2_000_000, 2_000_000 + NUM_EPISODES)
]  # no demonstration has these seeds
print(f"lifted {sum(success for success, _ in episodes)} of {len(episodes)}")
write_film(Path("rollouts.mp4"), episodes, hz=20)
