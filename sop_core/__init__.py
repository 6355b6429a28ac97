"""The Sound of Pixels, as a thin module: the notebooks call it, and the file list is the method.

    errors       SopError, the one exception; what the machine may lack
    config       every number of a run, with its unit; the presets MUSIC, VGGSOUND, DEMO
    untrusted    names from outside, safe to print and to open in a spreadsheet
    media        video and audio files in and out
    show         pictures and players for notebooks, from arrays and results
    collect      lists of MUSIC and VGGSound -> videos; photos -> silent scenes
    toy          a toy orchestra: real mp4 files with sound, stems and boxes, from a seed
        music        notes of six instruments, melodies, their sound
        players      pen, pose, and how an animal is drawn
        instruments  how each instrument is drawn with its player
        stage        places, light, players side by side
        render       one clip in memory, its files, the data set
    preprocess   videos -> frames/ and audio/
    clips        clips, in a data folder or in an index
    splits       clips -> train.csv, val.csv, test.csv
    check        what is wrong with clips
    spectrogram  STFT, its inverse, the log-frequency warp
    masks        what the nets should say, how it is applied, how far off they are
    nets         sound U-Net, pretrained eyes (or the published ResNet-18), linear synthesizer, and the three together
    published    what only the profile sop2018 does with clips
    windows      windows of clips: checked, read, augmented
    mixtures     clips -> training's mixtures, to be separated again
    pairs        an evaluation's mixtures, and their manifest
    metrics      SDR, SIR, SAR; whether a map finds its box
    engine       devices, processes, precision: Hugging Face Accelerate
    looks        precomputed features: what a frozen backbone makes of training's pictures
    objective    the loss of a batch: mix, look, ask back
    checkpoint   a run's folder
    weights      the authors' released model, as a checkpoint
    train        fit() yields one record an epoch
    film         where a scene's pictures come from
    features     what the nets compute of a whole video, window by window; kept beside it
    regions      cells, their visual features and masks, and what they take of the mixture
    clusters     cells that sound alike
    band         masks beyond the model's band, on a video's own sound
    scene        a Scene: a video in which every cell of the picture can be heard
    baselines    NMF: separation without eyes or training
    journal      long work item by item: noted, shared out, gone on with
    tables       scores -> the rows that are reported
    methods      what a model, its baselines and ideal masks make of a mixture, scored
    duets        filmed duets with boxes and stems: separation by boxes, localization, false claims
    evaluate     all of it on one manifest, with its protocol
    separate     a video's sounds into files
    report       the HTML report
    tracks       what the player's page is given of a track
    widget       PixelPlayer: click a pixel, hear it
    __main__     the command line: its words, exit codes, and errors in one line
    verbs        what each of its verbs does, and its options

A module imports only what stands above it.

Letters in docstrings and shape comments, everywhere:
    B batch            N sounds in a mixture   K channels shared by sound and pixels
    F frequency bins   T STFT frames           H,W grid of pixels (14 x 14)
    L audio samples    V video frames

Source: Zhao, Gan, Rouditchenko, Vondrick, McDermott, Torralba. The Sound of Pixels. ECCV 2018.
"""

__version__ = "0.1.0"
