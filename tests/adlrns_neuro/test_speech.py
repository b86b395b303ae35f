from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import wavfile
from support.data_files import SPEAKERS, spoken_arrays, wave_of, write_waves
from support.errors import refused
from support.shared import shared_data

from adlrns_neuro.data import load_dataset, log_mel, read_spoken_digits, send_on_delta
from mapping.errors import ArtifactError, ConfigError


def tone(hz: float, samples: int = 4000, loudness: float = 8000.0) -> np.ndarray[Any, Any]:
    """A pure tone at 8 kHz."""
    return (loudness * np.sin(2 * np.pi * hz * np.arange(samples) / 8000)).astype(np.int16)


def test_a_tone_is_loudest_in_its_band() -> None:
    features = log_mel([tone(hz) for hz in (200, 1000, 3000)], frames=20)
    assert features.shape == (3, 20, 40)
    assert features.dtype == np.float32
    peaks = features[:, 5].argmax(axis=1)
    edges = 700 * (10 ** (np.linspace(31.75, 2146.06, 42) / 2595) - 1)
    for hz, band in zip((200, 1000, 3000), peaks, strict=True):
        assert edges[band] <= hz <= edges[band + 2]


def test_features_have_mean_0_and_deviation_1_and_zeros_behind() -> None:
    (features,) = log_mel([np.diff(tone(500))], frames=64)
    kept = features[: 1 + (3999 - 256) // 128]
    assert kept.mean() == pytest.approx(0, abs=1e-5)
    assert kept.std() == pytest.approx(1, abs=1e-4)
    assert not features[len(kept) :].any()


def test_loudness_does_not_matter_and_silence_is_silent() -> None:
    loud, soft = log_mel([tone(500, loudness=20000.0), tone(500, loudness=5000.0)])
    assert np.abs(loud - soft).mean() < 0.1
    assert not log_mel([np.zeros(1000, np.int16)]).any()


def test_a_short_recording_fills_one_frame_and_a_long_one_is_cut() -> None:
    short, long = log_mel([tone(700, 100), tone(700, 8000)], frames=4)
    assert short[0].any()
    assert not short[1:].any()
    assert long.any(axis=1).all()


@pytest.mark.parametrize(("frames", "mels"), [(0, 40), (10, 0), (10, 96)])
def test_features_that_would_be_empty_are_refused(frames: int, mels: int) -> None:
    with refused(ConfigError, "ADL-DAT-03", where="log_mel"):
        log_mel([tone(500)], frames=frames, mels=mels)


@given(seed=st.integers(0, 2**16), threshold=st.floats(0.1, 2.0))
def test_spikes_follow_the_features_to_the_threshold(seed: int, threshold: float) -> None:
    features = np.random.default_rng(seed).normal(size=(3, 12, 4)).cumsum(axis=1)
    spikes = send_on_delta(features, threshold)
    assert spikes.shape == (3, 12, 8)
    assert spikes.dtype == np.uint8
    rises, falls = spikes[..., :4].astype(bool), spikes[..., 4:].astype(bool)
    assert not (rises & falls).any()
    told = features[:, 0].copy()
    for frame in range(12):
        moved = features[:, frame] - told
        np.testing.assert_array_equal(rises[:, frame], moved > threshold)
        np.testing.assert_array_equal(falls[:, frame], -moved > threshold)
        told[rises[:, frame] | falls[:, frame]] = features[:, frame][
            rises[:, frame] | falls[:, frame]
        ]
        assert (np.abs(features[:, frame] - told) <= threshold).all()


@pytest.mark.parametrize("threshold", [0.0, -1.0, float("nan"), float("inf")])
def test_a_threshold_that_is_none_is_refused(threshold: float) -> None:
    with refused(ConfigError, "ADL-DAT-03", where="send_on_delta", remedy="above 0"):
        send_on_delta(np.zeros((1, 2, 3)), threshold)


def test_wave_files_and_archive_give_the_same_features(tmp_path: Path) -> None:
    waves, packed = tmp_path / "waves", tmp_path / "packed"
    waves.mkdir()
    packed.mkdir()
    write_waves(waves)
    np.savez(packed / "fsdd.npz", **spoken_arrays())
    one, other = (load_dataset("spoken-digits", folder, frames=6) for folder in (waves, packed))
    assert one.train.inputs.shape == (40, 6, 40), "takes 5 and 6 of 10 digits and 2 speakers"
    assert len(one.test) == 100
    np.testing.assert_array_equal(one.train.inputs, other.train.inputs)
    np.testing.assert_array_equal(one.test.labels, other.test.labels)
    np.testing.assert_array_equal(one.test.inputs[0], log_mel([wave_of(0)], frames=6)[0])


def test_a_speaker_can_be_left_out(tmp_path: Path) -> None:
    write_waves(tmp_path)
    recordings = read_spoken_digits(tmp_path)
    is_test = recordings.is_test("bob")
    assert set(recordings.speakers[is_test]) == {"bob"}
    assert set(recordings.speakers[~is_test]) == {"ann"}
    found = load_dataset("spoken-digits", tmp_path, speaker="bob", frames=6, threshold=0.5)
    assert found.test.inputs.shape == (70, 6, 80)
    assert found.test.inputs.dtype == np.uint8
    with refused(
        ConfigError, "ADL-DAT-03", where="speaker", message="'eve'", remedy=", ".join(SPEAKERS)
    ):
        load_dataset("spoken-digits", tmp_path, speaker="eve")


def test_one_part_alone_is_refused(tmp_path: Path) -> None:
    write_waves(tmp_path)
    for path in (tmp_path / "recordings").glob("*_[0-4].wav"):
        path.unlink()
    with refused(ConfigError, "ADL-DAT-01", message="both parts"):
        load_dataset("spoken-digits", tmp_path)


def test_chunks_that_nobody_knows_are_passed_over(tmp_path: Path) -> None:
    write_waves(tmp_path)
    path = tmp_path / "recordings" / "3_ann_2.wav"
    extra = b"odd " + (4).to_bytes(4, "little") + b"1234"
    whole = path.read_bytes() + extra
    path.write_bytes(whole[:4] + (len(whole) - 8).to_bytes(4, "little") + whole[8:])
    assert len(read_spoken_digits(tmp_path).waves) == 140


def test_a_truncated_or_other_file_is_refused(tmp_path: Path) -> None:
    write_waves(tmp_path)
    path = tmp_path / "recordings" / "3_ann_2.wav"
    whole = path.read_bytes()
    for content in (b"", b"RIFX", b"no wave at all", whole[:-100], whole[:30], whole[:36]):
        path.write_bytes(content)
        with refused(ArtifactError, "ADL-DAT-02", where=str(path), remedy="again"):
            read_spoken_digits(tmp_path)


@given(places=st.lists(st.integers(0, 47), max_size=3), byte=st.integers(0, 255))
def test_a_damaged_header_is_refused_or_harmless(places: list[int], byte: int) -> None:
    file = io.BytesIO()
    wavfile.write(file, 8000, wave_of(3))
    content = bytearray(file.getvalue())
    for place in places:
        content[place] = byte
    with TemporaryDirectory() as folder:
        path = Path(folder, "recordings", "3_ann_2.wav")
        path.parent.mkdir()
        path.write_bytes(content)
        try:
            (wave,) = read_spoken_digits(Path(folder)).waves
        except ArtifactError:
            return
    assert wave.dtype == np.int16


@pytest.mark.parametrize(
    ("rate_hz", "wave"),
    [
        (16000, wave_of(3)),
        (8000, wave_of(3).astype(np.int32)),
        (8000, np.stack([wave_of(3)] * 2, axis=1)),
        (8000, wave_of(3)[:0]),
    ],
)
def test_another_kind_of_sound_is_refused(
    rate_hz: int, wave: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    write_waves(tmp_path)
    path = tmp_path / "recordings" / "3_ann_2.wav"
    wavfile.write(path, rate_hz, wave)
    with refused(ArtifactError, "ADL-DAT-02", where=str(path)):
        load_dataset("spoken-digits", tmp_path)


def test_a_name_of_another_form_is_refused(tmp_path: Path) -> None:
    write_waves(tmp_path)
    odd = tmp_path / "recordings" / "three.wav"
    odd.write_bytes(b"")
    with refused(ArtifactError, "ADL-DAT-02", where=str(odd), message="{speaker}"):
        load_dataset("spoken-digits", tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pcm": np.zeros(140 * 480, np.int32)}, "int32"),
        ({"pcm": np.zeros(10, np.int16)}, "(10,)"),
        ({"offset": np.arange(5)}, "offsets"),
        ({"take": np.arange(3)}, "different numbers"),
        ({"speaker": np.zeros(140)}, "different numbers"),
        ({"label": np.full(140, 11)}, "labels are 11 to 11"),
    ],
)
def test_a_wrong_archive_is_refused(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "fsdd.npz"
    np.savez(path, **(spoken_arrays() | changes))
    with refused(ArtifactError, "ADL-DAT-02", where=str(path), message=message):
        load_dataset("spoken-digits", tmp_path)


def test_spoken_digits_as_copied() -> None:
    folder = shared_data("fsdd")
    found = load_dataset("spoken-digits", folder)
    assert (found.train.inputs.shape, len(found.test)) == ((2700, 64, 40), 300)
    assert np.bincount(found.test.labels).tolist() == [30] * 10
    recordings = read_spoken_digits(folder)
    assert sorted(set(recordings.speakers.tolist())) == [
        "george",
        "jackson",
        "lucas",
        "nicolas",
        "theo",
        "yweweler",
    ]
    assert recordings.is_test("theo").sum() == 500
