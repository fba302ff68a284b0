import io
import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file

from latentkit.layers import BlockConfig
from latentkit.models import Looped, LoopedConfig, Transformer, TransformerConfig, build
from latentkit.training import CheckpointError, load_weights, save_weights
from latentkit.training.checkpoint import RunFolder, config_from_json, config_to_json, load_into

SMALL = BlockConfig(8, 2, 1)
CONFIGS = [
    TransformerConfig(3, 6, 2, SMALL),
    LoopedConfig(3, 6, 2, 1, 1, "none", False, BlockConfig(8, 4, 3, False, 0, False), 9),
    LoopedConfig(3, 6, block=SMALL),
]


def make(seed: int = 0, config=CONFIGS[0]) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build(config)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(make(), path, command="latentkit reproduce x", seed=0)
    return path


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_weights_come_back_bit_for_bit(config, tmp_path):
    model = make(3, config)
    save_weights(model, tmp_path / "sub/model.safetensors", seed=3)
    loaded = load_weights(tmp_path / "sub/model.safetensors")
    assert type(loaded) is type(model)
    assert loaded.config == config
    assert not loaded.training
    assert all(map(torch.equal, loaded.state_dict().values(), model.state_dict().values()))
    assert sorted(p.name for p in (tmp_path / "sub").iterdir()) == ["model.json", "model.safetensors"]


def test_the_sidecar_is_readable_and_says_where_weights_came_from(saved):
    about = json.loads(saved.with_suffix(".json").read_text())
    assert about["command"] == "latentkit reproduce x"
    assert about["config"]["type"] == "TransformerConfig"
    assert about["config"]["block"] == config_to_json(SMALL)


@pytest.mark.parametrize("config", [*CONFIGS, SMALL], ids=str)
def test_a_config_survives_json(config):
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config


@pytest.mark.parametrize("share", [0, 1, 7, 8, 9, 100, 0.5, 0.999, -1])
def test_a_truncated_file_is_named(saved, share):
    whole = saved.read_bytes()
    length = int(share * len(whole)) if isinstance(share, float) else share % len(whole)
    saved.write_bytes(whole[:length])
    with pytest.raises(
        CheckpointError, match=rf"model\.safetensors \({length} bytes\) is truncated or not a safetensors"
    ):
        load_weights(saved)


@pytest.mark.parametrize("how", ["torch.save", "pickle"])
def test_a_pickle_is_refused_and_never_run(saved, how):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(saved.parent / "boom"),)

    buffer = io.BytesIO()
    (torch.save if how == "torch.save" else pickle.dump)({"weights": Bomb()}, buffer)
    saved.write_bytes(buffer.getvalue())
    with pytest.raises(CheckpointError, match="is a pickled PyTorch file; latentkit loads safetensors only"):
        load_weights(saved)
    assert not (saved.parent / "boom").exists()


def test_missing_files_are_named(saved):
    saved.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.json"):
        load_weights(saved)
    save_weights(make(), saved)
    saved.unlink()
    with pytest.raises(FileNotFoundError, match=r"no file .*model\.safetensors"):
        load_weights(saved)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid json"),
        ('{"config": ', "not valid json"),
        ("\xff\xfe", "not valid json"),
        ("[]", "holds a json list"),
        ("{}", "unknown model config None; this version knows TransformerConfig"),
        ('{"config": {"type": "Mamba"}}', "unknown model config 'Mamba'"),
        (
            '{"config": {"type": "LoopedConfig", "vocab_size": 2, "num_classes": 2, "wings": 2}}',
            "other fields: .*wings",
        ),
        ('{"config": {"type": "LoopedConfig", "vocab_size": 2}}', "other fields: .*num_classes"),
    ],
)
def test_a_bad_sidecar_says_what_is_wrong(saved, text, said):
    saved.with_suffix(".json").write_bytes(text.encode("latin-1"))
    with pytest.raises(CheckpointError, match=said):
        load_weights(saved)


def test_another_models_weights_are_refused_by_the_first_difference(tmp_path):
    model = make()
    path = tmp_path / "w.safetensors"

    def refused(tensors, said):
        before = {k: v.clone() for k, v in model.state_dict().items()}
        with pytest.raises(CheckpointError, match=said):
            load_into(model, tensors, path)
        assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())

    deeper = make(config=TransformerConfig(3, 6, 3, SMALL)).state_dict()
    refused(deeper, r"has 'blocks\.2\..*', which this Transformer does not")
    refused(make(config=TransformerConfig(3, 6, 1, SMALL)).state_dict(), r"has no 'blocks\.1\.")
    refused(make(config=CONFIGS[2]).state_dict(), r"has no 'blocks\.0\..*another model's weights")
    refused(
        make(config=TransformerConfig(5, 6, 2, SMALL)).state_dict(),
        r"'embed\.token\.weight' has shape \[5, 8\], this Transformer needs \[3, 8\]",
    )


def test_a_sidecar_of_another_model_is_refused(saved):
    save_weights(make(config=CONFIGS[2]), saved.parent / "other.safetensors")
    saved.with_suffix(".json").write_text((saved.parent / "other.json").read_text())
    with pytest.raises(CheckpointError, match="this Looped needs: these are another model's weights"):
        load_weights(saved)


def test_weights_have_their_suffix(tmp_path):
    with pytest.raises(CheckpointError, match=r"model\.pt: .*ends in \.safetensors"):
        save_weights(make(), tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt"):
        load_weights(tmp_path / "model.pt")


def test_tied_weights_are_saved(tmp_path):
    """safetensors refuses tensors that share memory."""
    model = Transformer(TransformerConfig(6, 6, 1, SMALL))
    model.head.weight = model.embed.token.weight
    save_weights(model, tmp_path / "tied.safetensors")
    loaded = load_weights(tmp_path / "tied.safetensors")
    assert torch.equal(loaded.head.weight, loaded.embed.token.weight)


class Died(BaseException):
    """The process is killed here: nothing after this line runs."""


def dying(monkeypatch, function: str, after: int):
    """The writer dies in the call number `after` (from 0) of os.replace or os.fsync."""
    calls, real = [], getattr(os, function)

    def replacement(*arguments):
        if len(calls) == after:
            raise Died
        calls.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(os, function, replacement)


@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_a_writer_that_dies_leaves_the_old_file(saved, function, monkeypatch):
    old = saved.read_bytes()
    with monkeypatch.context() as patch, pytest.raises(Died):
        dying(patch, function, 0)
        save_weights(make(seed=1), saved)
    assert saved.read_bytes() == old
    assert sorted(p.name for p in saved.parent.iterdir()) == ["model.json", "model.safetensors"]
    load_weights(saved)


@pytest.mark.parametrize("function", ["replace", "fsync"])
@pytest.mark.parametrize("after", [0, 1])
def test_a_checkpoint_writer_that_dies_leaves_the_old_checkpoint(tmp_path, function, after, monkeypatch):
    run = RunFolder(tmp_path / "run")
    assert run.load() is None
    run.save(1, {"x": torch.ones(2)}, {"note": "old"})
    with monkeypatch.context() as patch, pytest.raises(Died):
        dying(patch, function, after)
        run.save(2, {"x": torch.zeros(2)}, {"note": "new"})
    tensors, about = run.load()
    assert (about["step"], about["note"], tensors["x"].tolist()) == (1, "old", [1, 1])
    run.save(2, {"x": torch.zeros(2)}, {"note": "new"})
    tensors, about = run.load()
    assert (about["step"], about["note"], tensors["x"].tolist()) == (2, "new", [0, 0])
    assert sorted(p.name for p in run.folder.iterdir()) == ["checkpoint.json", "step-00000002.safetensors"]


def test_a_checkpoint_that_dies_while_it_tidies_up_is_the_new_one(tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    run.save(1, {"x": torch.ones(2)}, {})
    with monkeypatch.context() as patch, pytest.raises(Died):
        patch.setattr(type(tmp_path), "unlink", lambda *_, **__: (_ for _ in ()).throw(Died))
        run.save(2, {"x": torch.zeros(2)}, {})
    assert run.load()[1]["step"] == 2
    run.save(3, {"x": torch.zeros(2)}, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.json", "step-00000003.safetensors"]


def test_a_damaged_checkpoint_is_named(tmp_path):
    run = RunFolder(tmp_path)
    run.save(1, {"x": torch.ones(20)}, {})
    file = tmp_path / "step-00000001.safetensors"
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(CheckpointError, match=r"step-00000001\.safetensors \(40 bytes\) is truncated"):
        run.load()
    file.unlink()
    with pytest.raises(FileNotFoundError, match="step-00000001"):
        run.load()
    (tmp_path / "checkpoint.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"checkpoint\.json has no 'step'"):
        run.load()


def test_what_is_written_is_plain_safetensors(saved):
    assert load_file(saved).keys() == make().state_dict().keys()
    assert not isinstance(make(), Looped)
