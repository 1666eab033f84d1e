# SPDX-License-Identifier: Apache-2.0
"""Variables for Ansible: data, whatever they look like."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from worker.inputs import documents

LOOKUP = "{{ lookup('pipe', 'touch /nowhere') }}"
VARIABLES: dict[str, Any] = {"th_job": {"id": "13", "zuul": {"ZUUL_CHANGES": LOOKUP}}, "list": [LOOKUP, 5, None, True]}


def test_every_template_is_marked_and_read_back_as_it_was(tmp_path: Path) -> None:
    text = documents.ansible_variables(VARIABLES)
    assert text.count("!unsafe") == 2
    assert "id: '13'" in text, "Ansible reads a number out of what is marked and looks like one"
    path = tmp_path / "job.yaml"
    path.write_text(text)
    assert documents.read_mapping(path) == VARIABLES


def test_what_is_not_marked_by_us_is_no_tag_that_is_known(tmp_path: Path) -> None:
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(documents.ansible_variables(VARIABLES))
