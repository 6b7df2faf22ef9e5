import pytest

from hcs.errors import CorruptError
from hcs.ingest.provenance import read_fingerprint
from hcs.plate.storage import Storage


def test_nothing_imported_is_no_fingerprint(tmp_path):
    assert read_fingerprint(Storage.open(tmp_path)) is None


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "import.json").write_text("{")
    with pytest.raises(CorruptError, match=r"import\.json is damaged"):
        read_fingerprint(Storage.open(tmp_path))
