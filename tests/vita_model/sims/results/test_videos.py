"""Films of episodes and their page."""

import re

import av
import numpy as np

from vita_model.policy.opener import RandomPolicy
from vita_model.sims.results.episodes import TaskPlayer, play
from vita_model.sims.results.rollouts import LoopConfig
from vita_model.sims.results.videos import Videos
from vita_model.sims.scripted.players import ScriptedSimulation

LOOP = LoopConfig(max_steps=6, replan_steps=2)


def test_each_episode_has_a_film_of_all_its_steps_and_the_page_has_all_films(tmp_path, make_arm):
    videos, policy = Videos(folder=tmp_path / "videos", hz=20), RandomPolicy("libero")
    arms = []

    def make(group):
        arms.append(make_arm())
        return ScriptedSimulation(arms[-1], policy.info), lambda: None

    with TaskPlayer(make, lambda group: LOOP, policy, videos) as player:
        rows = [player.run(group, seed) for group, seed in (("lift <it>", 1), ("lift <it>", 2), ("stack", 1))]

    assert [row["num_steps"] for row in rows] == [6, 6, 6]
    assert len(arms) == 2  # a simulator a task
    files = sorted(path.name for path in (tmp_path / "videos").iterdir())
    assert files == ["lift <it>-001.mp4", "lift <it>-002.mp4", "stack-001.mp4"]
    with av.open(str(tmp_path / "videos" / files[0])) as film:
        assert sum(1 for _ in film.decode(video=0)) == 7 + 30  # six steps, the end, and 1.5 s of its picture
    page = videos.write_page("All & sundry", {("lift <it>", 1): True, ("lift <it>", 2): False}).read_text()
    assert page.count("<video ") == 3
    assert 'src="lift &lt;it&gt;-001.mp4"' in page
    assert "<title>All &amp; sundry</title>" in page
    assert "<p>3 episodes, 1 of 2 solved. The end of 1 is not known. A green frame" in page
    captions = re.findall("<figcaption>(.*?)</figcaption>", page)
    assert captions == ["lift &lt;it&gt;-001: solved", "lift &lt;it&gt;-002: not solved", "stack-001"]
    assert "<p>3 episodes. A green frame" in videos.write_page("All", {}).read_text()
    assert '<meta name="viewport" content="width=device-width' in page  # or a phone shows it as a desk, tiny


def test_an_episode_does_not_depend_on_those_before_it(make_arm):
    def paths(order):
        found, policy, arm = {}, RandomPolicy("libero", seed=1), make_arm()
        simulation = ScriptedSimulation(arm, policy.info)
        for seed in order:
            play(simulation, policy, LOOP, "lift", seed)
            found[seed] = arm.hand
        return found

    forwards, backwards = paths([1, 2, 3]), paths([3, 2, 1])
    for seed in forwards:
        np.testing.assert_array_equal(forwards[seed], backwards[seed])
    steps = [forwards[seed] - forwards[1] for seed in (2, 3)]
    assert all(np.abs(step).max() > 0.02 for step in steps)  # other starts, other commands
