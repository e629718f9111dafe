"""The options of the magics."""

from __future__ import annotations

from dataclasses import fields

from exsa_lab.config import EngineConfig, SamplingParams
from exsa_lab.magics import ExsaMagics
from exsa_lab.magics.arguments import field_texts
from exsa_lab.magics.magics import NO_OPTIONS
from tests.magics.parts import FakeLoad
from tests.shell import Shell


def test_every_parameter_has_an_option() -> None:
    for magic, config in ((ExsaMagics.exsa, SamplingParams), (ExsaMagics.exsa_load, EngineConfig)):
        options = {action.dest: action for action in magic.parser._actions}
        for item in fields(config):
            if item.name in NO_OPTIONS:
                assert item.name not in options
                continue
            assert options[item.name].help, item.name
    assert set(field_texts(SamplingParams)) == {item.name for item in fields(SamplingParams)}


def test_every_magic_has_help(ip: Shell) -> None:
    names = [name for kind in ip.ip.magics_manager.magics.values() for name in kind if name.startswith("exsa")]
    assert sorted(names) == [
        "exsa", "exsa_bench", "exsa_cancel", "exsa_chats", "exsa_doctor", "exsa_history", "exsa_jobs", "exsa_load",
        "exsa_models", "exsa_serve", "exsa_status", "exsa_template", "exsa_unload",
    ]  # fmt: skip
    for name in names:
        parser = getattr(ExsaMagics, name).parser
        assert parser.description, name
        assert all(action.help for action in parser._actions), name


def test_flags_of_the_engine(ip: Shell, fake_load: FakeLoad) -> None:
    line = "any --no-flash-attention --recalibrate --n-gpu-layers -1"
    assert ip.run(f"%exsa_load {line}").succeeded
    assert fake_load.asked == [("any", "auto", {"flash_attention": False, "recalibrate": True, "n_gpu_layers": -1})]
