# SPDX-License-Identifier: BSD-2-Clause
"""Programs of the build folder from which one thing was taken out.

The product has no hooks for that: a copy of one source is changed, what includes it is compiled with
the build's own options, and the program is linked again, in a folder beside the build. A Change says
what; its text has to be in the source once, so that one that is out of date says so.
"""
import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

PROGRAMS = ("vdpad/vdpad", "shim/vdpa-shim", "worker/vdpa-worker", "simnic/simnic", "vdpa/vdpa")
REPO = Path(__file__).resolve().parents[2]
BUILD = REPO / os.environ.get("VDPAD_BUILD", "build")
FOLDER = BUILD / "patched"


class Change:
    """source: the file that is changed; compiled: those that are compiled then, itself unless said"""

    def __init__(self, program, source, old, new="", compiled=()):
        self.program, self.source, self.old, self.new = program, source, old, new
        self.compiled = compiled or (source,)

    def write(self, folder):
        """The changed copy. It is found before the source: its folder is the first of those searched."""
        copy = folder / self.source
        text = (copy if copy.exists() else REPO / self.source).read_text()
        assert text.count(self.old) == 1, (
            f"{self.source} has {text.count(self.old)} times what is to be changed:\n{self.old}")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text.replace(self.old, self.new))


def run(command, **how):
    done = subprocess.run(command, cwd=BUILD, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          **how)
    assert done.returncode == 0, f"{shlex.join(command)}:\n{done.stderr}"
    return done.stdout


def compile_one(source, folder, link):
    """Return: its place among what @link links, unless it is in a library, and the new object."""
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        place = entry["output"]
        if (BUILD / entry["file"]).resolve() == REPO / source and (
                place in link or place.split(".p/")[0] in link):
            break
    else:
        raise AssertionError(f"{source} is not compiled for that program")
    words = shlex.split(entry["command"])
    for option in ("-MQ", "-MF", "-o", "-c"):
        at = words.index(option)
        del words[at:at + 2]
    words.remove("-MD")
    copy, target = folder / source, folder / (source + ".o")
    target.parent.mkdir(parents=True, exist_ok=True)
    run([words[0], f"-I{folder}", *words[1:], "-Wno-error", "-o", str(target), "-c",
         str(copy if copy.exists() else REPO / source)])
    return place, str(target)


def link_again(program, sources, folder):
    """An object that stands before a library takes the place of the library's."""
    target = f"tools/{program}"
    link = shlex.split(run(["ninja", "-t", "commands", target]).splitlines()[-1])
    at = link.index("-o") + 1
    link[at] = str(folder / target)
    for source in sources:
        place, made = compile_one(source, folder, link)
        if place in link:
            link[link.index(place)] = made
        else:
            link.insert(at + 1, made)
    os.unlink(folder / target)
    run(link)


def make_patched(name, *changes):
    """A folder as VDPAD_BUILD with all programs, of which some are changed."""
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    for program in PROGRAMS:
        place = folder / "tools" / program
        place.parent.mkdir(parents=True)
        os.link(BUILD / "tools" / program, place)  # a program looks for others beside itself
    for change in changes:
        change.write(folder)
    for program in {change.program for change in changes}:
        sources = {source: None for change in changes if change.program == program
                   for source in change.compiled}
        link_again(program, sources, folder)
    return folder
