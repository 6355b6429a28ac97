"""Manifests of an evaluation: never a video with itself, drawn by a seed, there and back."""

import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from tiny import TINY, write_clip

from sop_core.data.clips import Clip
from sop_core.errors import SopError
from sop_core.training.mixtures import Listed, Training
from sop_core.training.pairs import draw_pairs, pairs_hash, read_pairs, write_pairs


def test_no_video_is_mixed_with_itself_and_labels_differ_when_asked(tiny_clips):
    for pair in draw_pairs(tiny_clips, 50, TINY):
        assert pair[0].clip.video != pair[1].clip.video
    pairs = draw_pairs(tiny_clips, 50, TINY, labels="different")
    assert all(pair[0].clip.label != pair[1].clip.label for pair in pairs)
    assert len({pair[0].clip.name for pair in pairs}) == len(tiny_clips)


def test_a_clip_that_nothing_can_be_mixed_with_says_so(tmp_path, tiny_clips):
    alone = [write_clip(tmp_path, label, 0) for label in ("red", "blue")]
    section = []
    for n, c in enumerate(alone):
        sound = c.sound.rename(c.sound.with_name(f"part_{n}.flac"))
        section.append(Clip(sound, c.frames, c.n_frames, "one"))
    other = write_clip(tmp_path, "red", 5)
    with pytest.raises(SopError, match="part_0: no clip of another video and another label"):
        draw_pairs([section[0], section[1], other], 3, TINY, labels="different")
    many = [
        section[0],
        *[Clip(c.sound, c.frames, c.n_frames, c.video) for c in section[1:] * 400],
        tiny_clips[1],
    ]
    assert draw_pairs(many, 1, TINY)  # the one that fits is found among the many that don't


def test_a_manifest_comes_back_as_it_was(tmp_path, tiny_clips):
    pairs = draw_pairs(tiny_clips, 5, TINY)
    write_pairs(tmp_path / "pairs.csv", pairs)
    back = read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY)
    assert back == pairs
    assert pairs_hash(back) == pairs_hash(pairs) != pairs_hash(pairs[1:])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "red/red_0,0,blue/blue_1,x\n",
            "row 1: expected clip,start or AUDIO_PATH,FRAMES_PATH,NUMBER_FRAMES twice",
        ),
        (
            "red/red_0,0,blue/blue_1,5\nred/red_0,0,green/g,5\n",
            "row 2: 'green/g' is not in the index",
        ),
        ("", "no pairs"),
        ("red/red_0,0\n", "row 1: expected clip,start or"),
        (
            "red/red_0,0,blue/blue_1,5\nred/red_0,0,red/red_0,900\n",
            "row 2: red/red_0 .* red/red_0 are of one video",
        ),
        ("x/red/red_0.mp3,f,24,x/green/g.mp3,f,24\n", "row 1: 'green/g' is not in the index"),
        ("red/red_0,999999,blue/blue_1,5\n", "row 1.*red_0.*3.00 s of sound"),
    ],
)
def test_a_broken_manifest_gets_one_clear_sentence(tmp_path, tiny_clips, text, sentence):
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(SopError, match=sentence):
        read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY)


def test_rows_of_vanished_clips_are_counted_and_left_out_only_when_asked(tmp_path, tiny_clips):
    text = "red/red_0,0,green/g,5\nred/red_0,0,blue/blue_1,5\nblue/b,0,green/g,5\n"
    (tmp_path / "pairs.csv").write_text(text)
    counted = "row 1: 'green/g' is not in the index; 2 of 3 row"
    with pytest.raises(SopError, match=f"{counted}.* --leave-out measures the others"):
        read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY)
    with pytest.warns(UserWarning, match=f"{counted}.* left out"):
        (pair,) = read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY, left_out=[])
    assert [(part.clip.name, part.start) for part in pair] == [("red/red_0", 0), ("blue/blue_1", 5)]
    (tmp_path / "pairs.csv").write_text("blue/b,0,green/g,5\n")
    with pytest.warns(UserWarning), pytest.raises(SopError, match="no pairs of clips in the index"):
        read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY, left_out=[])


def test_a_manifest_may_hold_mixtures_of_two_three_and_four(tmp_path, tiny_clips):
    pairs = [
        pair for n in (2, 3, 4) for pair in draw_pairs(tiny_clips, 2, replace(TINY, sources=n))
    ]
    write_pairs(tmp_path / "pairs.csv", pairs)
    assert read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY) == pairs
    assert [len(item["sounds"]) for item in Listed(pairs, TINY)] == [2, 2, 3, 3, 4, 4]


def test_a_manifest_from_a_spreadsheet_is_read(tmp_path, tiny_clips):
    (tmp_path / "pairs.csv").write_bytes(b"\xef\xbb\xbfred/red_0,0,blue/blue_1,5\r\n\r\n")
    (pair,) = read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY)
    assert [part.clip.name for part in pair] == ["red/red_0", "blue/blue_1"]


def test_a_manifest_of_clips_at_another_rate_is_refused(tmp_path, tiny_clips):
    (tmp_path / "pairs.csv").write_text("red/red_0,0,blue/blue_1,5\n")
    with pytest.raises(SopError, match=r"row 1 \(red/red_0\): sound at 11025 Hz, expected 8000"):
        read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY.override({"rate": "8000"}))


def test_a_published_list_is_read_by_the_ends_of_its_paths(tmp_path, tiny_clips):
    """Foreign folders, slashes and numbers of frames; each window is the middle of its clip."""
    rows = [
        "/their/data/audio/red/red_0.mp3,/their/data/frames/red/red_0.mp4,99,./audio/blue/blue_2.wav,./frames/blue/blue_2.mp4,7",
        "D:\\audio\\blue\\blue_0.mp3,x,99,red/red_1.mp3,x,99,red/red_2.mp3,x,99",
    ]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    pairs = read_pairs(tmp_path / "list.csv", tiny_clips, TINY)
    names = [[part.clip.name for part in pair] for pair in pairs]
    assert names == [["red/red_0", "blue/blue_2"], ["blue/blue_0", "red/red_1", "red/red_2"]]
    for part in pairs[0]:  # 3 s of sound: the window's middle is a frame's middle beside 1.5 s
        assert (part.start + TINY.samples / 2) / TINY.rate == pytest.approx(
            1.5, abs=0.5 / TINY.fps + 1e-3
        )


def test_a_window_may_end_a_codec_frame_beyond_its_sound(tmp_path, tiny_clips):
    """Decoders differ by so much. Another decoder reads the manifest, and silence fills the gap."""
    samples, missing = 33_075, 700  # of a clip of 3 s; less than 0.1 s
    (tmp_path / "pairs.csv").write_text(
        f"red/red_0,{samples + missing - TINY.samples},blue/blue_1,0\n"
    )
    item = Listed(read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY), TINY)[0]
    assert item["sounds"].shape == (2, TINY.samples)
    assert (
        not item["sounds"][0, -missing:].any() and item["sounds"][0, -missing - 20 : -missing].any()
    )
    whole = soundfile.read(tiny_clips[0].sound, dtype="float32")[0]
    assert np.array_equal(item["sounds"][0, :-missing].numpy(), whole[missing - TINY.samples :])
    latest = samples + 1_102 - TINY.samples  # 0.1 s of 11,025 Hz, cut to whole samples
    (tmp_path / "pairs.csv").write_text(f"red/red_0,{latest},blue/blue_1,0\n")
    assert read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY)[0][0].start == latest
    (tmp_path / "pairs.csv").write_text(f"red/red_0,{latest + 1},blue/blue_1,0\n")
    with pytest.raises(
        SopError, match=r"row 1 \(red/red_0\): 3.00 s of sound, the window ends at 3.10 s"
    ):
        read_pairs(tmp_path / "pairs.csv", tiny_clips, TINY)
    short = write_clip(tmp_path, "red", 8, seconds=(TINY.samples - missing) / TINY.rate)
    assert {
        p.start
        for i in range(20)
        for p in Training([short, tiny_clips[1]], TINY).draw(i)[0]
        if p.clip == short
    } == {0}


def test_a_manifest_is_no_formula_to_a_spreadsheet(tmp_path, tiny_clips):
    (tmp_path / "audio" / "=1+cmd|' C'!A0").mkdir(parents=True)
    sound = tmp_path / "audio" / "=1+cmd|' C'!A0" / "x.flac"
    sound.write_bytes(tiny_clips[0].sound.read_bytes())
    clips = [Clip(sound, tiny_clips[0].frames, tiny_clips[0].n_frames), tiny_clips[1]]
    pairs = draw_pairs(clips, 3, TINY)
    write_pairs(tmp_path / "pairs.csv", pairs)
    assert not any(
        cell.startswith("=")
        for cell in (tmp_path / "pairs.csv").read_text().replace("\n", ",").split(",")
    )
    assert read_pairs(tmp_path / "pairs.csv", clips, TINY) == pairs


def test_a_manifest_with_one_photo_twice_is_refused_with_its_row(tmp_path, tiny_clips):
    clips = [replace(clip, photos=("p",)) for clip in tiny_clips[:2]] + tiny_clips[2:]
    write_pairs(
        tmp_path / "pairs.csv", draw_pairs(clips, 1, TINY) + draw_pairs(tiny_clips, 40, TINY)
    )
    names = {clip.name for clip in clips[:2]}
    rows = (tmp_path / "pairs.csv").read_text().splitlines()
    number = 1 + [set(row.split(",")[::2]) == names for row in rows].index(True)
    with pytest.raises(SopError, match=f"pairs.csv row {number}: .* are of one video or photo; "):
        read_pairs(tmp_path / "pairs.csv", clips, TINY)


def test_a_middle_window_stays_within_its_sound(tmp_path, tiny_clips):
    """Where a clip's frames are longer than its sound, or hardly begin."""
    for frames, start in ((100, 33_075 - TINY.samples), (1, 0)):
        clip = Clip(tiny_clips[0].sound, tiny_clips[0].frames, frames)
        (tmp_path / "list.csv").write_text("x/red/red_0.mp3,f,1,x/blue/blue_1.mp3,f,1\n")
        (pair,) = read_pairs(tmp_path / "list.csv", [clip, *tiny_clips[1:]], TINY)
        assert pair[0].start == start


def test_a_manifest_keeps_names_that_are_no_utf8(tmp_path, tiny_clips):
    clip = tiny_clips[0]
    sound = tmp_path / "audio" / "red" / os.fsdecode(b"caf\xe9.flac")
    sound.parent.mkdir(parents=True)
    sound.write_bytes(clip.sound.read_bytes())
    clips = [Clip(sound, clip.frames, clip.n_frames), tiny_clips[1]]
    pairs = draw_pairs(clips, 2, TINY)
    write_pairs(tmp_path / "pairs.csv", pairs)
    assert b"red/caf\xe9," in (tmp_path / "pairs.csv").read_bytes()
    assert read_pairs(tmp_path / "pairs.csv", clips, TINY) == pairs
    rows = "\n".join(",".join(f"{part.clip.name},{part.start}" for part in pair) for pair in pairs)
    digest = hashlib.sha256(rows.encode(errors="surrogateescape")).hexdigest()
    assert pairs_hash(pairs) == digest[:10]  # by hand, so that no other version gives another name


def test_an_evaluations_mixtures_go_round_all_clips_and_do_not_depend_on_how_many_are_drawn(
    tiny_clips,
):
    pairs = draw_pairs(tiny_clips, 13, TINY)
    firsts = [pair[0].clip for pair in pairs]
    assert (
        all(set(firsts[i : i + 6]) == set(tiny_clips) for i in (0, 6))
        and firsts[:6] != firsts[6:12]
    )
    assert draw_pairs(tiny_clips, 5, TINY) == pairs[:5]
    assert draw_pairs(tiny_clips, 5, replace(TINY, seed=1)) != pairs[:5]
