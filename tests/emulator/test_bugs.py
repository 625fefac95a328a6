"""Checked mode names every planted bug: its kind, its buffer, its source line."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from emulator.bugs import BUGS, Bug
from emulator.cases import CASES
from emulator.harness import CHECKED
from tensorc.emulator import EmulatorReport
from tensorc.emulator.report import RACES


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
def test_checked_mode_names_a_planted_bug(bug: Bug) -> None:
    source = bug.plant(CASES[bug.case].source)
    result, _ = CASES[bug.case].run(CHECKED, source, **bug.options)
    lines = ["", *source.split("\n")]
    matching = [
        finding
        for finding in result.findings
        if finding.kind in bug.kinds
        and finding.buffer == bug.buffer
        and any(bug.line in lines[number] for number in finding.source_lines)
    ]
    report = EmulatorReport(list(result.findings))
    assert matching, f"{result.error}\n{report.describe(source)}"
    finding = matching[0]
    assert finding.message.startswith(f"{finding.kernel}: {finding.kind.value}")
    if finding.kind in RACES and "asynchronous" not in finding.message:
        assert len(finding.source_lines) == 2  # Both statements, both threads.
        assert len(finding.threads) == 2
        assert (finding.threads[0], finding.blocks[0]) != (finding.threads[1], finding.blocks[1])


def test_there_are_forty_bugs_of_eight_kinds() -> None:
    groups = Counter(bug.group for bug in BUGS)
    assert len(BUGS) >= 40
    assert len(groups) == 8
    assert min(groups.values()) >= 5


def test_a_race_reads_as_a_sentence_with_both_statements() -> None:
    source = CASES["softmax"].source.replace(
        "__syncthreads();  // `partial` is used again below", ""
    )
    result, _ = CASES["softmax"].run(CHECKED, source)
    text = EmulatorReport(list(result.findings)).describe(source)
    assert re.search(
        r"softmax_rows: race: write after read in shared partial: thread \(\d+,0,0\) of block "
        r"\(0,0,0\) writes 4 bytes at offset \d+ at line 28 \(st.shared.[bf]32\), which thread "
        r"\(\d+,0,0\) of block \(0,0,0\) read at line 17 \(ld.shared.[bf]32\); nothing orders the "
        r"two; \d+ times\n"
        r"  line 28: if \(lane == 0\) partial\[warp\] = sum;\n"
        r"  line 17: largest = partial\[lane % 8\];",
        text,
    ), text


def test_findings_of_several_launches_add_up() -> None:
    bug = next(bug for bug in BUGS if bug.case == "transpose")
    source = bug.plant(CASES["transpose"].source)
    report = EmulatorReport()
    for _ in range(2):
        report.add(CASES["transpose"].run(CHECKED, source)[0].findings)
    once = EmulatorReport(list(CASES["transpose"].run(CHECKED, source)[0].findings))
    assert [f.count for f in report.findings] == [2 * f.count for f in once.findings]
    assert not report.ok
    assert EmulatorReport().describe() == "no findings"
