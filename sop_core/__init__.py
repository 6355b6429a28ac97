"""The Sound of Pixels as a thin package for notebooks. Its folders (rooms) follow the method.

    errors       SopError, the one exception for what the user can mend
    untrusted    names from outside, made safe to print
    settings     every number of a run, with its unit
    config       one run as a Config; the presets MUSIC, VGGSOUND, DEMO, SOLOS; the folders
    metrics      SDR, SIR, SAR; whether a map finds its box
    media/       files of sound and pictures, in and out
                 atomic csvs mp3 sound jpgs choose formats container clock mono survey pictures
                 samples stream write processes
    show/        pictures and players for notebooks, from arrays and results
                 figures clips scenes results
    data/        videos -> clips -> train, val and test
                 lists account collect archives mirrors hub videos preprocess clips copies
                 fingerprints matching leftout splits check
    compose/     photos and recordings -> videos with stems and boxes, from a seed
                 material photos sounds recordings gm fluid soundfonts melodies performance
                 acoustics camera clips plan render compose
    toy/         a toy orchestra: the same of drawn pictures and computed sounds
                 music players instruments stage render material
    model/       the nets, with the spectrogram and the masks around them
                 spectrogram masks resnet eyes unet synthesizer names model
    training/    mix and separate: mixtures, loss, loop, a run's folder
                 published windows mixtures pairs engine looks resident objective optimizer
                 validation checkpoint released naming loop
    listening/   a Scene: a video in which every pixel can be heard; the player; tracks as files
                 film features regions clusters fullband separated scene soundfiles export tracks
                 playback saved levels page traits player
    evaluation/  scores of a model, of baselines and of ideal masks; localization; the report
                 nmf journal tables methods duets evaluate report
    verbs/       the command line, a file for each verb
                 options demo collect compose preprocess index train names evaluate separate weights

A room imports only rooms above it, and a file only files before it in its room.
`docs/architecture.md` says what each room takes and gives.

Letters in docstrings and shape comments, everywhere:
    B batch            N sounds in a mixture   K feature maps of a sound, features of a pixel
    F frequency bins   T STFT frames           H,W grid of pixels (14 x 14)
    L audio samples    V video frames

Source: Zhao, Gan, Rouditchenko, Vondrick, McDermott, Torralba. The Sound of Pixels. ECCV 2018.
"""

import os

# The threads of a step wait for each other. libgomp has them spin for some milliseconds first: each
# time, where another process wants the core. Read when torch is imported; see benchmarks/busy.py.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")

__version__ = "0.1.0"
