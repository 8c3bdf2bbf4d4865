import pytest
import torch
from torch import nn

from runners.evaluate import evaluate, scores

CPU = torch.device("cpu")


def test_scores_of_a_matrix_worked_out_by_hand():
    # Rows are labels. Class 2 occurs in neither; class 3 is predicted once and never there.
    confusion = torch.tensor([[6, 2, 0, 0], [1, 3, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]])
    found = scores(confusion)
    assert found.class_iou == (pytest.approx(6 / 9), pytest.approx(3 / 7), None, 0.0)
    assert found.miou == pytest.approx((6 / 9 + 3 / 7 + 0.0) / 3)
    assert found.pixel_accuracy == pytest.approx(9 / 13)


def test_nothing_labelled_is_no_error():
    assert scores(torch.zeros(3, 3)) == scores(torch.zeros(3, 3, dtype=torch.int64))
    assert scores(torch.zeros(3, 3)).miou == 0.0


class Painted(nn.Module):
    """Predicts the class that the red channel holds."""

    def forward(self, image):
        classes = (image[:, :1] * 255).round().long()
        return torch.zeros(image.shape[0], 4, *image.shape[2:]).scatter_(1, classes, 1.0)


def pairs(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (count, 8, 8), generator=rng, dtype=torch.uint8)
    guess = torch.where(torch.rand(count, 8, 8, generator=rng) < 0.7, labels, (labels + 1) % 4)
    labels[:, 0] = 255
    return guess[:, None].expand(-1, 3, -1, -1).contiguous(), labels


def batches(size: int):
    images, labels = pairs(7)
    return list(zip(images.split(size), labels.split(size), strict=True))


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_batches_do_not_matter_and_255_does_not_count(size):
    found = evaluate(Painted(), batches(size), classes=4, device=CPU)
    images, labels = pairs(7)
    guess, known = images[:, 0], labels != 255
    expected = []
    for k in range(4):
        a, b = (guess == k) & known, (labels == k) & known
        expected.append(float((a & b).sum() / (a | b).sum()))
    assert found.class_iou == pytest.approx(expected)
    assert found.miou == pytest.approx(sum(expected) / 4)
    assert found.pixel_accuracy == pytest.approx(float((guess == labels)[known].float().mean()))


def test_it_is_one_matrix_over_the_data_set_not_a_mean_over_images():
    right, wrong = torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.ones(1, 3, 8, 8, dtype=torch.uint8)
    label = torch.zeros(1, 8, 8, dtype=torch.uint8)
    mixed = label.clone()
    mixed[:, :4] = 255
    found = evaluate(Painted(), [(right, label), (wrong, mixed)], classes=4, device=CPU)
    # 64 pixels right, 32 wrong; the mean over images would be 1/2.
    assert found.class_iou[:2] == (pytest.approx(64 / 96), 0.0)


def test_the_network_is_in_eval_mode_and_without_gradients():
    class Watched(Painted):
        def forward(self, image):
            assert not self.training
            assert torch.is_inference_mode_enabled()
            return super().forward(image)

    evaluate(Watched().train(), batches(3), classes=4, device=CPU)
