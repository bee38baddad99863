"The table of how far a training's scores move."

import importlib.util
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[1] / "bench" / "spread.py"


def test_last_line_is_the_distance_between_lowest_and_highest():
    spec = importlib.util.spec_from_file_location("spread", SCRIPT)
    spread = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(spread)
    rows = [{"run": str(seed), "weights": "0a", "seconds": 1, "cider_d": score}
            for seed, score in enumerate((2.25, 2.5, 2.0))]
    lines = list(spread.table(rows))
    assert lines[0].split() == ["seed/threads/precision", "weights", "seconds", "cider_d"]
    assert [line.split() for line in lines[-3:]] == [
        ["lowest", "2.000"], ["highest", "2.500"], ["apart", "0.500"]]
