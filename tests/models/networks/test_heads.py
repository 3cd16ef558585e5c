"""The heads: order by construction, and the start at given quantiles."""

import numpy as np
import torch

from models.evaluation.losses import mean_pinball
from models.networks.heads import QuantileHead, VolatilityHead, log_variance_loss, pinball_loss

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)


def test_quantiles_never_cross_whatever_the_input() -> None:
    """Even extreme activations give ascending quantiles."""
    torch.manual_seed(0)
    head = QuantileHead(16, 6, LEVELS)
    quantiles = head(torch.randn(500, 16) * 1000.0)
    assert quantiles.shape == (500, 6, 5)
    assert (quantiles.diff(dim=-1) >= 0).all()


def test_an_untrained_head_outputs_its_start_quantiles() -> None:
    """With a zero context the output is exactly the given quantiles."""
    start = np.array([[-2.0, -1.0, 0.0, 1.1, 2.2], [-3.0, -1.5, 0.1, 1.0, 4.0]])
    head = QuantileHead(8, 2, LEVELS)
    head.start_at(start)
    np.testing.assert_allclose(head(torch.zeros(1, 8))[0].detach().numpy(), start, atol=1e-5)


def test_volatility_is_bounded_and_starts_at_the_scale() -> None:
    """The log of sigma over scale is 0 at the start and stays within 3 for any input."""
    head = VolatilityHead(8, 3)
    assert head(torch.zeros(1, 8)).abs().max() == 0.0
    assert head(torch.full((1, 8), 1e6)).abs().max() <= 3.0


def test_losses_leave_unknown_labels_out() -> None:
    """A NaN label has no effect, and the torch loss equals the NumPy one."""
    quantiles = torch.randn(4, 2, 5).sort(dim=-1).values
    truth = torch.tensor([[0.1, torch.nan], [torch.nan, torch.nan], [0.5, -0.5], [1.0, 2.0]])
    known = truth.isfinite().numpy()
    expected = mean_pinball(truth.numpy()[known], quantiles.numpy()[known], LEVELS).mean()
    np.testing.assert_allclose(pinball_loss(truth, quantiles, torch.tensor(LEVELS)).item(), expected, rtol=1e-5)
    assert pinball_loss(torch.full((1, 2), torch.nan), quantiles[:1], torch.tensor(LEVELS)).item() == 0.0


def test_a_weight_counts_a_window_as_often() -> None:
    """A window of weight two equals two copies of it, and one of weight zero has no effect."""
    truth, quantiles, log_sigma = torch.randn(3, 2), torch.randn(3, 2, 5).sort(dim=-1).values, torch.randn(3, 2)
    truth[0, 1] = torch.nan
    weights, twice = torch.tensor([[2.0], [0.0], [1.0]]), torch.tensor([0, 0, 2])
    levels = torch.tensor(LEVELS)
    torch.testing.assert_close(
        pinball_loss(truth, quantiles, levels, weights), pinball_loss(truth[twice], quantiles[twice], levels)
    )
    torch.testing.assert_close(
        log_variance_loss(truth, log_sigma, weights), log_variance_loss(truth[twice], log_sigma[twice])
    )
    unknown = torch.full((3, 2), torch.nan)
    assert pinball_loss(unknown, quantiles, levels, weights).item() == 0.0


def test_the_variance_loss_is_least_at_the_realised_standard_deviation() -> None:
    """The gradient vanishes where sigma squared is the variance, and is bounded where the variance is almost zero."""
    log_sigma = torch.full((2, 1), float(np.log(2.0)), requires_grad=True)
    log_variance_loss(torch.tensor([[4.0], [1e-30]]).log(), log_sigma).backward()
    assert abs(log_sigma.grad[0].item()) < 1e-6
    assert 0.0 < log_sigma.grad[1].item() <= 3.0
