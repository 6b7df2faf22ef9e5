import pytest
from pydantic import BaseModel

from hcs.errors import PlateError
from hcs.plate.problems import Problems


class Section(BaseModel):
    width: int
    height: int


def test_one_problem_stands_alone_and_several_are_counted():
    found = Problems()
    found.check("plate demo")
    found.problem("first")
    with pytest.raises(PlateError, match=r"^plate demo: first \(do that\)$"):
        found.check("plate demo", "do that")
    found.problem("second")
    with pytest.raises(PlateError, match=r"^plate demo has 2 problems: first; second$"):
        found.check("plate demo")


def test_every_part_that_does_not_fit_is_a_problem():
    words = r"plate demo has 2 problems: part\.width: .*; part\.height: field required"
    with pytest.raises(PlateError, match=words):
        Problems().parse(Section, {"width": "wide"}, "part", "plate demo")


def test_a_warning_is_noted_once():
    found = Problems()
    found.warn("odd")
    found.warn("odd")
    assert found.warnings == ["odd"]
