# SPDX-License-Identifier: BSD-2-Clause
"""The documentation names what is there: files, configuration keys, options."""
import re
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
DOCS = REPO / "docs"


def text(name):
    return (REPO / name).read_text()


def man(name):
    """A manual page's words, without the marks of its typesetting."""
    return text(f"docs/man/{name}").replace("\\-", "-")


def test_links_lead_somewhere():
    wrong = []
    for page in DOCS.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                wrong.append(f"{page.relative_to(REPO)}: {target}")
    assert not wrong, "\n".join(wrong)


def config_keys():
    return re.findall(r'\{ \.name = "(\w+)"', text("tools/vdpad/config.c"))


def test_each_configuration_key_is_in_the_manual_and_the_example():
    keys = config_keys()
    assert len(keys) > 10
    manual = re.findall(r'^\.BI (\w+) " = ', man("vdpad.conf.5"), re.MULTILINE)
    example = re.findall(r"^# (\w+) =", text("docs/examples/vdpad.conf"), re.MULTILINE)
    assert manual == keys
    assert example == keys


def options_of(usage):
    return set(re.findall(r"--[a-z][a-z-]*", usage))


def test_each_option_of_vdpad_is_in_the_manual():
    usage = re.search(r"usage\[\] =(.*?);\n\n", text("tools/vdpad/main.c"), re.DOTALL).group(1)
    options = options_of(usage)
    assert len(options) > 6
    synopsis, description = man("vdpad.8").split(".SH OPTIONS")
    assert options == options_of(synopsis)
    assert options <= options_of(description)


def test_each_option_and_order_of_simnic_is_in_its_page():
    page = text("docs/simnic.md")
    descs = text("tools/simnic/options.c").split("descs[] = {")[1].split("};")[0]
    options = {"--" + name for name in re.findall(r'^\t\{ "([a-z-]+)",', descs, re.MULTILINE)}
    assert len(options) > 10
    assert options <= options_of(page)
    orders = re.findall(r'^\t\{ "([a-z-]+)", do_', text("tools/simnic/misbehave.c"), re.MULTILINE)
    assert len(orders) > 5
    for order in orders:
        assert f"| `{order}` |" in page, order


def test_each_fuzzer_is_built_and_in_its_page():
    targets = re.findall(r'^    "([a-z-]+)": \("', text("tests/fuzz/run").split("TARGETS = {")[1], re.MULTILINE)
    assert len(targets) > 5
    table = text("docs/testing.md").split("## Fuzzers")[1]
    rows = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    assert sorted(targets) == sorted(re.findall(r"`([a-z-]+)`", " ".join(rows)))
    built = re.findall(r"executable\('fuzz-([a-z-]+)'", text("tests/fuzz/meson.build"))
    assert sorted(targets) == sorted(built)
