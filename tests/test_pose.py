"""An object's own coordinates follow it wherever it lies, and its ends are told apart by its outline."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mask_sampling import Mask
from mask_sampling.pose import Pose, carried, depth, register


def pin(angle: float, centre: tuple[float, float] = (150, 150), mirrored: bool = False) -> Mask:
    """A rod with a head at one end and a hook at the other, lying at `angle`: u = -1 at the head."""
    y, x = np.mgrid[:300, :300].astype(float)
    x, y = x - centre[0], y - centre[1]
    along, across = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
    across = -across if mirrored else across
    rod = (abs(along) < 100) & (abs(across) < 10)
    head = (along < -70) & (along > -100) & (abs(across) < 30)
    hook = (along > 85) & (along < 100) & (across > 0) & (across < 30)
    inside: Mask = rod | head | hook
    return inside


ANGLES = [0.0, 0.7, 2.0, math.pi, 4.0, 5.5]


@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_place_on_the_object_keeps_its_coordinates_however_it_lies(angle: float, mirrored: bool) -> None:
    registration = register([pin(0.3), pin(3.5), pin(1.0, mirrored=True)])
    first, other = registration.pose(pin(0.3)), registration.pose(pin(angle, (140, 160), mirrored))
    for along, across in [(-85.0, 20.0), (50.0, 0.0), (92.0, 25.0)]:
        x, y = (math.cos(0.3) * along - math.sin(0.3) * across, math.sin(0.3) * along + math.cos(0.3) * across)
        expected = first.to_object(np.array([150 + x]), np.array([150 + y]))
        across = -across if mirrored else across
        x, y = math.cos(angle) * along - math.sin(angle) * across, math.sin(angle) * along + math.cos(angle) * across
        found = other.to_object(np.array([140 + x]), np.array([160 + y]))
        np.testing.assert_allclose(found, expected, atol=0.06)


def test_only_outlines_that_look_alike_are_flipped() -> None:
    assert register([pin(0.1), pin(2.0)]).flips == ((1, 1),)
    bar = np.zeros((100, 100), dtype=np.bool_)
    bar[40:60, 10:90] = True
    assert len(register([bar]).flips) == 4


def test_ends_that_look_alike_are_told_by_how_another_object_lies() -> None:
    rng = np.random.default_rng(0)

    def bar(angle: float) -> Mask:
        """A bar with uneven edges, which make now one end, now the other look more like the references'."""
        y, x = np.mgrid[:200, :300] - np.array([100.0, 150.0])[:, None, None]
        along, across = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
        uneven = 2 * np.sin(along / 9 + rng.uniform(0, 6))
        inside: Mask = (abs(along) < 90) & (abs(across + uneven) < 20)
        return inside

    registration = register([bar(0.01 * number) for number in range(3)])
    first = registration.pose(bar(0.0))
    assert len(registration.flips) > 1
    for number in range(-10, 11):
        found = registration.pose_like(first, bar(0.1 * number))
        assert abs((found.axis - first.axis - 0.1 * number + 1) % (2 * math.pi) - 1) < 0.05
        assert found.mirrored == first.mirrored


def test_objects_without_a_main_axis_are_round_and_textures_are_the_frame() -> None:
    y, x = np.mgrid[:100, :100]
    assert register([np.hypot(y - 50, x - 50) < 30]).kind == "round"
    assert register([np.ones((50, 80), dtype=np.bool_)]).kind == "frame"
    assert register([pin(0.0)]).kind == "object"


@given(st.floats(0, 7), st.floats(5, 50), st.floats(5, 50), st.booleans(), st.floats(-1, 1), st.floats(-1, 1))
def test_coordinates_there_and_back_are_the_same(
    axis: float, length: float, width: float, mirrored: bool, u: float, v: float
) -> None:
    pose = Pose("object", (30.0, 40.0), axis, length, width, mirrored)
    np.testing.assert_allclose(pose.to_object(*pose.to_image(np.array([u]), np.array([v]))), [[u], [v]], atol=1e-9)


def test_a_zone_drawn_over_one_object_lies_on_the_same_part_of_another() -> None:
    registration = register([pin(0.3)])
    one, other = pin(0.3), pin(2.5, (160, 140))
    poses = registration.pose(one), registration.pose(other)
    y, x = np.mgrid[:300, :300]
    head = one & (poses[0].to_object(x, y)[0] < -0.7)
    expected = other & (poses[1].to_object(x, y)[0] < -0.7)
    found = carried(head, *poses, other.shape) & other
    assert (found & expected).sum() / (found | expected).sum() > 0.95


def test_depth_runs_from_the_outline_to_the_innermost_place() -> None:
    found = depth(pin(0.0))
    assert found.max() == 1
    assert found[150, 68] > 0.9
    assert 0 < found[150, 150] < 0.7
    assert found[0, 0] == 0
    texture = depth(np.ones((41, 41), dtype=np.bool_))
    assert texture[20, 20] == 1
    assert texture[0, 20] < 0.1


def test_an_object_cut_by_the_frame_goes_on_there() -> None:
    half = np.zeros((40, 40), dtype=np.bool_)
    half[10:30, :20] = True
    assert depth(half)[20, 0] == depth(half)[20, 8]


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(ValueError, match="no references"):
        register([])
    with pytest.raises(ValueError, match="empty"):
        register([np.zeros((9, 9), dtype=np.bool_)])
    with pytest.raises(ValueError, match="empty"):
        register([pin(0.0)]).pose(np.zeros((9, 9), dtype=np.bool_))
