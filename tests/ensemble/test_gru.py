import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rsna19_kedro.ensemble.gru import bidirectional_gru


@pytest.mark.parametrize("lengths", [[5, 3, 1, 5], [1], [7, 7]])
def test_values_and_gradients_are_those_of_pytorch(lengths):
    torch.manual_seed(0)
    units = nn.GRU(3, 4, batch_first=True, bidirectional=True).double()
    inputs = torch.randn(len(lengths), max(lengths), 3, dtype=torch.double, requires_grad=True)
    counts = torch.tensor(lengths)
    exists = torch.arange(max(lengths)) < counts[:, None]
    factors = torch.randn(int(exists.sum()), 8, dtype=torch.double)
    packed = pack_padded_sequence(inputs, counts, batch_first=True, enforce_sorted=False)
    expected = pad_packed_sequence(units(packed)[0], batch_first=True)[0]
    found = []
    for values in (expected, bidirectional_gru(units, inputs, counts)):
        units.zero_grad()
        inputs.grad = None
        (values[exists] * factors).sum().backward()
        found.append([values[exists], inputs.grad, *(p.grad for p in units.parameters())])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)
