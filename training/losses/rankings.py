"""Objectives over whole rankings, whose responses ran once each.

Lists of different lengths stand in one matrix, (lists, places), whose filling `listed` tells. All
three objectives stay the same when a list's rewards shift together. For two responses K-wise and
Plackett-Luce are Bradley-Terry, and ListNet is its cross-entropy with a soft label. Losses are in
nats, one for each list; an empty one costs 0.
"""

import torch
from torch import Tensor

from training.losses.pairwise import bradley_terry_terms
from training.losses.shapes import means_of_runs, precise, require_lists


def kwise_terms(chosen: Tensor, rejected: Tensor, counts: Tensor) -> Tensor:
    """Each ranking's mean negative log-likelihood over its pairs: −1/n Σ log σ(r_i − r_j).

    n is C(K, 2) where nothing ties; ties are no pairs. The pairs of one ranking weigh one together,
    as they share its responses: apart, a long ranking would be overfitted within an epoch.

    Args:
        chosen: rewards of preferred responses, all pairs of one ranking after those of the one
            before, (pairs,).
        rejected: rewards of the responses that they beat, (pairs,).
        counts: pairs of each ranking, (rankings,), int64, each at least 1.

    Source: arXiv 2203.02155 eq. 1.
    """
    return means_of_runs(bradley_terry_terms(chosen, rejected), counts)


def listnet_terms(rewards: Tensor, relevance: Tensor, listed: Tensor) -> Tensor:
    """ListNet with top-one probabilities: cross-entropy of softmax(r) to softmax(relevance).

    loss = −Σ_j softmax(relevance)_j · log softmax(rewards)_j

    Responses of equal relevance share their probability, so that a tie is learned as a tie. The
    least value is the entropy of the target, not 0; it is reached where rewards equal relevances up
    to a shift.

    Args:
        rewards: (lists, places).
        relevance: how good each response is, higher is better, in reward units, (lists, places).
        listed: which places hold a response, (lists, places), bool.

    Source: Cao, Qin, Liu, Tsai, Li 2007, "Learning to rank: from pairwise approach to listwise
    approach" (ICML), with top-one probabilities.
    """
    require_lists("rewards and relevance", rewards, relevance)
    require_lists("rewards and listed", rewards, listed)
    rewards = precise(rewards)
    target = _log_softmax(relevance.to(rewards.dtype), listed).exp() * listed
    return -(target * _log_softmax(rewards, listed)).sum(dim=1)


def plackett_luce_terms(rewards: Tensor, ranks: Tensor, listed: Tensor) -> Tensor:
    """Negative log-likelihood of each ranking: its best response chosen first, then the next, ….

    loss = −Σ_i log(exp(r_i) / Σ_{j not ranked before i} exp(r_j))

    Ties by Efron's rule: of t tied responses the l-th (l = 0 … t − 1) is chosen from all that
    follow and from the tied ones at 1 − l/t of their weight, which is what would remain of them on
    average. Their own order doesn't matter. Where nothing ties, exp(−loss) is the ranking's
    probability.

    Args:
        rewards: (lists, places).
        ranks: lower is better, equal is tied, (lists, places), any dtype that compares.
        listed: which places hold a response, (lists, places), bool.

    Source: Plackett 1975, "The analysis of permutations", Applied Statistics 24, 193–202; as a
    loss: Xia et al. 2008, "Listwise approach to learning to rank" (ListMLE). Ties: Efron 1977, "The
    efficiency of Cox's likelihood function for censored data", JASA 72, 557–565.
    """
    require_lists("rewards and ranks", rewards, ranks)
    require_lists("rewards and listed", rewards, listed)
    rewards = precise(rewards)
    both = listed[:, :, None] & listed[:, None, :]
    tied = both & (ranks[:, :, None] == ranks[:, None, :])
    later = both & (ranks[:, :, None] < ranks[:, None, :])
    earlier_among_tied = tied.tril(diagonal=-1).sum(dim=2)  # l of each response
    # 1 − l/t > 0; of integers float32 would round it whatever the rewards' precision
    left = 1 - earlier_among_tied.double() / tied.sum(dim=2).clamp(min=1)
    weight = later + tied * left[:, :, None]  # (lists, chosen, candidates)
    # Filling chooses from everybody, so that its unused logarithm is finite, and so its gradient.
    weight = torch.where(listed[:, :, None], weight, torch.ones_like(weight))
    candidates = torch.logsumexp(rewards[:, None, :] + weight.log().to(rewards.dtype), dim=2)
    return ((candidates - rewards) * listed).sum(dim=1)


def _log_softmax(values: Tensor, listed: Tensor) -> Tensor:
    """Log of the softmax over what is listed; 0 for filling."""
    # The lowest finite value and not −∞, whose softmax over an empty list would be no number.
    lowest = torch.finfo(values.dtype).min
    probabilities = values.masked_fill(~listed, lowest).log_softmax(dim=1)
    return probabilities.masked_fill(~listed, 0.0)
