"""Tables of where a checkpoint comes from."""

from tests.training.publishing.report.made_up_inputs import manifest_of, report_inputs, usual_inputs
from training.publishing.report.tables.provenance import (
    configuration_table,
    provenance_tables,
)


def test_every_setting_stands_there() -> None:
    given = report_inputs(learning_rate=2e-5)
    rows = dict(configuration_table(manifest_of(given)).rows)

    assert rows.keys() == given.config.to_json().keys()
    assert rows["learning_rate"] == "2e-05"
    assert rows["base"] == "org/base"


def test_versions_origin_and_digests() -> None:
    tables = {
        table.title: dict(table.rows) for table in provenance_tables(manifest_of(usual_inputs()))
    }

    assert tables["Versions"] == {"python": "3.12"}
    assert tables["Origin"]["data fingerprint"] == "f" * 64
    assert tables["Files of the checkpoint"] == {"model.safetensors": "a" * 64}
