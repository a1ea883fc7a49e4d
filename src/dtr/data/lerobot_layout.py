"""Where things lie in a LeRobot data set, in its two layouts: v3 has files of many episodes, v2.1 one file an episode.

      v3                                                          v2.1
frames    data/chunk-000/file-<k>.parquet                         data/chunk-000/episode_<k>.parquet
films     videos/<camera>/chunk-000/file-<k>.mp4, from a time on  videos/chunk-000/<camera>/episode_<k>.mp4
tasks     meta/tasks.parquet                                      meta/tasks.jsonl
episodes  meta/episodes/chunk-000/file-<k>.parquet                meta/episodes.jsonl
numbers   meta/stats.json                                         meta/episodes_stats.jsonl, one line an episode
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dtr.data.films import Film
from dtr.errors import BadDemonstrations
from dtr.provenance import read_json

BAD = (OSError, ValueError, KeyError, TypeError, IndexError, pa.ArrowException)


@dataclass(frozen=True)
class Layout:
    """A data set at `folder` with its info.json; `old`: v2.1."""

    folder: Path
    info: Mapping[str, Any]
    old: bool

    def data_files(self) -> list[Path]:
        """Of frames, in order."""
        pattern = "data/chunk-*/episode_*.parquet" if self.old else "data/chunk-*/file-*.parquet"
        return sorted(self.folder.glob(pattern))

    def tasks(self) -> tuple[str, ...]:
        """The sentences in the order of task_index. BadDemonstrations when they have other numbers."""
        path = self.folder / ("meta/tasks.jsonl" if self.old else "meta/tasks.parquet")
        try:
            if self.old:
                pairs = sorted((line["task_index"], line["task"]) for line in lines(path))
            else:
                table = pq.read_table(path)
                sentences = next(name for name in table.column_names if name != "task_index")  # "task", or pandas' unnamed index
                pairs = sorted(zip(table["task_index"].to_pylist(), table[sentences].to_pylist(), strict=True))
        except (*BAD, StopIteration) as error:
            raise BadDemonstrations(f"{path} must map sentences to task_index, got: {error}: fetch or render it again.") from error
        if [number for number, _ in pairs] != list(range(len(pairs))):
            numbers = [n for n, _ in pairs][:8]
            raise BadDemonstrations(f"{path} must number its tasks 0..{len(pairs) - 1}, got {numbers}: fetch or render it again.")
        return tuple(sentence for _, sentence in pairs)

    def episodes(self) -> list[Mapping[str, Any]]:
        """What the data set says of each episode: `episode_index`, `length`, in v3 where its films are. Empty where it says nothing."""
        try:
            if self.old:
                return lines(self.folder / "meta/episodes.jsonl")
            files = sorted(self.folder.glob("meta/episodes/chunk-*/file-*.parquet"))
            return [row for path in files for row in pq.read_table(path).to_pylist()]
        except BAD as error:
            raise BadDemonstrations(f"meta/episodes of {self.folder} does not read ({error}): fetch or render it again.") from error

    def means(self, columns: Sequence[str]) -> dict[str, np.ndarray]:
        """Column -> the mean (D,) that the data set states of it, over all frames; only those that it states."""
        if self.old:
            path = self.folder / "meta/episodes_stats.jsonl"
            stated = [line["stats"] for line in lines(path)] if path.exists() else []
        else:
            path = self.folder / "meta/stats.json"
            stated = [read_json(path)] if path.exists() else []
        found = {}
        for column in columns:
            parts = [s[column] for s in stated if "mean" in s.get(column, {})]
            if parts and len(parts) == len(stated):
                counts = np.array([np.ravel(p.get("count", 1))[0] for p in parts], np.float64)
                found[column] = (counts[:, None] * np.array([np.ravel(p["mean"]) for p in parts])).sum(0) / counts.sum()
        return found

    def films(self, cameras: Sequence[str]) -> dict[int, list[Film]]:
        """Episode -> its films, camera by camera. BadDemonstrations where it does not say."""
        found, fps = {}, float(self.info.get("fps", 0))
        pattern = str(self.info.get("video_path"))
        try:
            for row in self.episodes():
                number = int(row["episode_index"])
                found[number] = [self.film(pattern, number, row, camera, fps) for camera in cameras]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise BadDemonstrations(f"{self.folder} does not say where its films are ({error}): fetch it again.") from error
        return found

    def film(self, pattern: str, episode: int, row: Mapping[str, Any], camera: str, fps: float) -> Film:
        """Where an episode's film begins."""
        if self.old:
            chunk = episode // int(self.info["chunks_size"])
            return Film(self.folder / pattern.format(episode_chunk=chunk, video_key=camera, episode_index=episode), 0)
        file = {"chunk_index": row[f"videos/{camera}/chunk_index"], "file_index": row[f"videos/{camera}/file_index"]}
        first = round(row[f"videos/{camera}/from_timestamp"] * fps)
        return Film(self.folder / pattern.format(video_key=camera, **file), first)


def lines(path: Path) -> list[Mapping[str, Any]]:
    """The objects of a file of JSON lines."""
    return [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines() if text.strip()]
