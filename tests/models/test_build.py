import json

import pytest
import torch

from latentkit.layers import BlockConfig, MixingConfig
from latentkit.models import (
    ARCHITECTURES,
    ClusteringConfig,
    EntityLoopConfig,
    EqRConfig,
    FAMConfig,
    FeedForwardConfig,
    GRUConfig,
    HRMConfig,
    LatentPredictorConfig,
    LatentTeacherConfig,
    LoopedConfig,
    MemoryConfig,
    SSMConfig,
    SudokuGraphConfig,
    TitansConfig,
    TransformerConfig,
    TRMConfig,
    build,
)
from latentkit.training.checkpoint import config_from_json, config_to_json, load_weights, save_weights

BLOCK = MixingConfig(4, 8, 8, "attention", num_heads=2, rotary=True)
CONFIGS = [
    TransformerConfig(5, 4, 1, BlockConfig(8, 2, 1)),
    LoopedConfig(5, 4, block=BlockConfig(8, 2, 1)),
    FeedForwardConfig(5, 4, BLOCK),
    HRMConfig(5, 4, BLOCK, register=True),
    TRMConfig(5, 4, BLOCK),
    EqRConfig(5, 4, BLOCK, damping=0.9),
    SudokuGraphConfig(2, 2, 4, 4),
    FAMConfig(5, 4, 2, 4, d_model=8, num_heads=2),
    GRUConfig(5, 4, hidden=3),
    SSMConfig(5, 4, 2, 6, 3, init="mimetic"),
    TitansConfig(5, 4, "MAC", MemoryConfig(d_model=8, depth=2, hidden=3, chunk=4)),
    ClusteringConfig(5, 4, 2, 3, "tokens"),
    LatentPredictorConfig(5, 4, 2, 3, "tokens", codes=6, hidden=8),
    LatentTeacherConfig(5, 4, 2, 3, d_model=4, hidden=8, standardise=False),
    EntityLoopConfig(5, 4, sets=2, block=BlockConfig(8, 2, 1)),
]


def test_every_architecture_is_here():
    assert {type(config) for config in CONFIGS} == set(ARCHITECTURES)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_model_is_built_saved_and_loaded(config, tmp_path):
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config
    model = build(config)
    assert type(model) is ARCHITECTURES[type(config)]
    save_weights(model, tmp_path / "model.safetensors")
    loaded = load_weights(tmp_path / "model.safetensors")
    assert loaded.config == config
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in loaded.state_dict().items())


def test_another_config_is_refused():
    with pytest.raises(TypeError, match=r"cannot build a model from BlockConfig; expected one of .*HRMConfig"):
        build(BlockConfig())
