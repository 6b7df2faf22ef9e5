"""What made the results: readable by machines, without times, the same for the same run."""

import json

from hcs.run.provenance import CRATE, versions


def test_the_crate_names_the_plate_the_settings_and_every_output(analysed_plate):
    crate = json.loads((analysed_plate.with_suffix(".hcs") / CRATE).read_text())
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert entities["./"]["hasPart"][0] == {"@id": "../tiny.zarr/"}
    action = entities["#analysis"]
    assert {"@id": "../tiny.zarr/#labels/ssl_cells"} in action["result"]
    # whatever is referred to is described
    referred = [part["@id"] for part in [*action["result"], *action["object"]]]
    assert set(referred) <= set(entities)
    settings = json.loads(entities["#settings"]["value"])
    assert settings["ssl"]["thresholds"] == "adaptive"
    assert "run" not in settings


def test_versions_are_those_of_what_decides_a_result():
    assert {"hcs", "numpy", "opencv-python-headless"} <= versions().keys()
