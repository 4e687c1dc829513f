"""One video or camera of ``predict``, a frame at a time, until its end or a signal."""

import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from mobileyolact.cli.progress import PredictProgress
from mobileyolact.cli.records import Records
from mobileyolact.cli.report import Result
from mobileyolact.cli.sources import Source
from mobileyolact.stopping import StopSignals

if TYPE_CHECKING:
    from mobileyolact.runtime.camera import Camera
    from mobileyolact.runtime.instances import Instances
    from mobileyolact.runtime.predictor import Predictor
    from mobileyolact.runtime.video import Frame, VideoReader


def predict_video(
    predictor: "Predictor",
    source: Source,
    target: Path,
    records: Records,
    progress: PredictProgress,
    stop: StopSignals,
) -> Result:
    """Predict on every frame and write a video with the same times, without sound.

    A signal ends it after the frame at hand: the frames so far become a complete video. Colours
    tell classes apart, because which instance comes first changes from frame to frame.

    Raises:
        ImageError: the video or the camera cannot be opened.
        MobileYolactError: the place cannot be written, or the disk is full.
    """
    from mobileyolact.runtime.draw import draw_onto
    from mobileyolact.runtime.video_writer import write_video

    stages = dict.fromkeys(("read", "preprocess", "network", "postprocess", "draw"), 0.0)
    found: Counter[str] = Counter()
    number = 0

    def draw(frame: "Frame", instances: "Instances") -> float:
        begin = time.perf_counter()
        draw_onto(frame.pixels, instances, colour_by="class")
        writer.write(frame)
        return time.perf_counter() - begin

    with (
        _open(source) as frames,
        write_video(target, frames.look) as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        # One frame is drawn and encoded while the network works on the next.
        drawing: Future[float] | None = None
        progress.begin(str(source), frames.frames)
        start = time.perf_counter()
        for frame in frames:
            read = time.perf_counter()
            instances, timings = predictor.timed(frame.pixels)
            instances = instances.distinct()
            if records.wanted:
                records.add(
                    {
                        "source": str(source),
                        "frame": number,
                        "time": round(float(frame.time), 6),
                        "height": instances.height,
                        "width": instances.width,
                        "instances": instances.to_json(),
                    }
                )
            if drawing is not None:
                stages["draw"] += 1e3 * drawing.result()
            drawing = pool.submit(draw, frame, instances)
            number += 1
            found.update(instances.class_names)
            stages["read"] += 1e3 * (read - start)
            stages["preprocess"] += timings.preprocess_ms
            stages["network"] += timings.network_ms
            stages["postprocess"] += timings.postprocess_ms
            start = time.perf_counter()
            progress.frame(number)
            if stop.received is not None:
                break
        if drawing is not None:
            stages["draw"] += 1e3 * drawing.result()
        problem = frames.problem()
    if stop.received is not None:
        total = f" of {frames.frames}" if frames.frames else ""
        progress.say(f"{source}: stopped; {target} holds the first {number}{total} frames")
    means = {stage: ms / max(1, number) for stage, ms in stages.items()}
    return Result(source.path.name, found, means, number, problem)


def _open(source: Source) -> "VideoReader | Camera":
    if source.camera is not None:
        from mobileyolact.runtime.camera import Camera

        return Camera(source.camera)
    from mobileyolact.runtime.video import VideoReader

    return VideoReader(source.path)
