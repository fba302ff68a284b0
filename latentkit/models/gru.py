"""The gated recurrent unit, the plain recurrent baseline of the labs about memory.

    r_t = sigma(W_r x_t + b_r + U_r h_{t-1} + c_r)                       reset
    z_t = sigma(W_z x_t + b_z + U_z h_{t-1} + c_z)                       update
    h_t = z_t * h_{t-1} + (1 - z_t) * tanh(W x_t + b + r_t * (U h_{t-1} + c))
    logits = W_o h_t + b_o

After Cho et al. 2014 (arXiv 1406.1078), in the form of torch's own `nn.GRU`, layers stacked: the reset gate multiplies
U h_{t-1} + c, where Cho et al. multiply h_{t-1} before U. All that the model knows of the past are the h numbers of
each layer.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor, nn

from latentkit.layers import TokenEmbedding


@dataclass(frozen=True)
class GRUConfig:
    """A stack of GRU layers.

    Attributes:
        vocab_size, num_classes: sizes of input and output alphabets.
        num_layers: layers l.
        d_model: width of the embedding.
        hidden: width h of each layer's state.
    """

    vocab_size: int
    num_classes: int
    num_layers: int = 2
    d_model: int = 64
    hidden: int = 64

    def __post_init__(self) -> None:
        if min(self.num_layers, self.d_model, self.hidden) < 1:
            raise ValueError(
                f"num_layers={self.num_layers}, d_model={self.d_model}, hidden={self.hidden}; all must be at least 1"
            )

    @property
    def state_size(self) -> int:
        """Numbers in the state of one sequence."""
        return self.num_layers * self.hidden


class GRU(nn.Module):
    """See the module's docstring for the equations; a `latentkit.recurrence.TimeRecurrent` model."""

    def __init__(self, config: GRUConfig):
        super().__init__()
        self.config = config
        self.embed = TokenEmbedding(config.vocab_size, config.d_model)
        self.gru = nn.GRU(config.d_model, config.hidden, config.num_layers, batch_first=True)
        self.head = nn.Linear(config.hidden, config.num_classes)

    def forward(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n v"]:
        """Logits at every position; raises on tokens that the embedding refuses."""
        return self.decode(self.gru(self.embed(tokens))[0])

    def initial_state(self, batch: int) -> Float[Tensor, "b l h"]:
        """h_0 = 0 in every layer."""
        return self.head.weight.new_zeros(batch, self.config.num_layers, self.config.hidden)

    def step(
        self, state: Float[Tensor, "b l h"], block: Int[Tensor, "b n"]
    ) -> tuple[Float[Tensor, "b l h"], Float[Tensor, "b n h"]]:
        """One block of tokens: the state after it, and the last layer's state at each of its positions."""
        output, last = self.gru(self.embed(block), state.transpose(0, 1).contiguous())
        return last.transpose(0, 1), output

    def decode(self, output: Float[Tensor, "b n h"]) -> Float[Tensor, "b n v"]:
        """The output layer."""
        return self.head(output)
