"""docs/notebook.ipynb runs, without Jupyter, against the snapshot of a sample run."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "notebook.ipynb"


def code_cells():
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.parametrize("starts_in", ["project", "docs"])
def test_the_notebook_runs_from_the_first_cell_to_the_last(
    sample, monkeypatch, tmp_path, starts_in
):
    """Jupyter starts a kernel in the notebook's folder; others start it in the project's."""
    platform, summary = sample
    (tmp_path / "project" / "docs").mkdir(parents=True)
    (tmp_path / "project" / "data").symlink_to(platform.home)
    monkeypatch.delenv("DATA_PLATFORM_HOME", raising=False)
    monkeypatch.chdir(tmp_path / "project" / ("docs" if starts_in == "docs" else "."))
    names = run_notebook()
    assert len(names["posts"]) == summary["post_count"]
    drawn = names["chart"].to_dict()["datasets"]
    assert {row["feed"] for rows in drawn.values() for row in rows} == {
        feed for (feed,) in platform.published("SELECT feed FROM source_health")
    }
    incident, examples = names["incident"], names["negative"]
    assert incident["feed"] == "larkwing_social"
    assert len(examples) > 100
    assert set(examples["label"]) == {"negative"}
    days = examples["date"]
    assert days.min() >= incident["first_date"]
    assert days.max() <= incident["last_date"]
    frame = names["frame"]
    assert str(frame.index.dtype).endswith(", UTC]")
    assert len(frame) == summary["post_count"]
    names["con"].close()


def test_the_notebook_finds_the_data_home_by_its_variable(sample, monkeypatch, tmp_path):
    platform, _ = sample
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_PLATFORM_HOME", str(platform.home))
    run_notebook()["con"].close()


def run_notebook():
    """Execute the code cells in order in one namespace, and return it."""
    names = {"__name__": "notebook"}
    for number, source in enumerate(code_cells(), start=1):
        exec(compile(source, f"cell {number}", "exec"), names)  # noqa: S102 — our own file
    return names
