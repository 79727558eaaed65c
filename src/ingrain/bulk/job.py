"""A job from files to part files: its note in the output folder, and which of its parts are still to be made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ingrain.bulk.columns import embed_values
from ingrain.bulk.rows import OutputFormat, column_of, encode_rows, read_rows
from ingrain.bulk.splits import InputFormat, Split, format_of, split_file
from ingrain.bulk.storage import Seen, join, list_files, names_in, read_if_there, remove, write_whole
from ingrain.bulk.wanted import Wanted
from ingrain.errors import IngrainError, SettingsError

NOTE = "_ingrain_job.json"
"""Name of the note; Spark, Hadoop and Arrow leave out files whose names begin with an underscore."""
_FORMAT = 1


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the bytes of the parts; only a run with the same options continues a job.

    Attributes:
        wanted: The vectors to compute.
        column: Column of the texts or images.
        output_column: Column of the vectors.
        input_format: Format of the input; None by suffix.
        output_format: Format of the parts.
        rows_a_part: Most rows of a part.
        without_input: Whether the column of the texts or images is left out.
    """

    wanted: Wanted
    column: str = "text"
    output_column: str = "embedding"
    input_format: InputFormat | None = None
    output_format: OutputFormat = "parquet"
    rows_a_part: int = 20_000
    without_input: bool = False


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """The note in the output folder.

    Attributes:
        format: Version of the note.
        options: The job's options.
        files: The input as it was when the job began.
        splits: A split for each part.
        weights: Digest of the model's graphs; empty until one is opened, and for a service.
    """

    format: int = _FORMAT
    options: Options
    files: list[Seen]
    splits: list[Split]
    weights: str = ""


class Job:
    """A job whose note is in the output folder.

    Args:
        output: Path or URI of the output folder.
        note: The job's note.
    """

    def __init__(self, output: str, note: Note) -> None:
        self.output = output
        self.note = note

    @property
    def options(self) -> Options:
        """The job's options."""
        return self.note.options

    def missing(self) -> list[int]:
        """Return the numbers of the parts that are not there, by looking at the output folder."""
        there = set(names_in(self.output))
        return [number for number in range(len(self.note.splits)) if self._name(number) not in there]

    def use_weights(self, weights: str) -> None:
        """Note the weights that compute this job, or compare them with those of its other parts.

        Raises:
            SettingsError: They are others.
        """
        if not weights or weights == self.note.weights:
            return
        if self.note.weights:
            raise SettingsError(
                f"The model {self.options.wanted.model!r} has other weights than the one that made the job's parts: "
                "another node has another repository, or the model was converted again. --force starts over.",
                param="--force",
            )
        self.note = msgspec.structs.replace(self.note, weights=weights)
        write_note(self.output, self.note)

    def part(self, number: int) -> str:
        """Return the path or URI of a part."""
        return join(self.output, self._name(number))

    def _name(self, number: int) -> str:
        return f"part-{number:06d}.{self.options.output_format}"


def make_part(options: Options, split: Split, part: str, embed: Callable[..., Any]) -> int:
    """Compute one part and write it; return its rows.

    Args:
        options: The job's options.
        split: The rows.
        part: Path or URI of the part.
        embed: Embeds items; ``embed`` of a model.

    Raises:
        IngrainError: An item is invalid, or a file cannot be read or written.
    """
    rows = read_rows(split, options.column)
    values = column_of(rows, options.column, split)
    try:
        vectors = embed_values(embed, options.wanted, values, options.column)
    except IngrainError as error:
        place = f"{split.path.partition('?')[0]}, {'row' if split.format == 'parquet' else 'byte'} {split.start}"
        error.message = f"{error.message} (Counted from {place}.)"
        raise
    without = options.column if options.without_input else None
    data = encode_rows(
        rows, vectors, column=options.output_column, output_format=options.output_format, without=without
    )
    write_whole(part, data)
    return len(values)


def open_job(inputs: Sequence[str], output: str, options: Options, *, force: bool = False) -> Job:
    """Begin a job, or continue the one whose note is in the output folder.

    Args:
        inputs: Paths or URIs of files and folders.
        output: Path or URI of the output folder.
        options: The job's options.
        force: True to start over and remove the parts of an earlier job.

    Raises:
        SettingsError: The input has no rows, cannot be read, or is not that of the job; the job has other options; or
            the folder holds other files.
    """
    files = [file for one in inputs for file in list_files(one)]
    note = None if force else _read_note(output)
    if note is None:
        _make_room(output, force=force)
        splits = [
            split
            for file in files
            for split in split_file(file, format_of(file.path, options.input_format), rows_a_part=options.rows_a_part)
        ]
        if not splits:
            raise SettingsError("There is nothing to embed in the input.", param="FILE")
        note = Note(options=options, files=files, splits=splits)
        write_note(output, note)
        return Job(output, note)
    if (name := _other_option(note.options, options)) is not None:
        raise SettingsError(f"{output} was made with another {name}; --force starts over.", param="--force")
    if note.files != files:
        before = {file.path: file for file in note.files}
        changed = next((file.path for file in files if before.get(file.path) != file), None)
        what = f"{changed} is new or has changed" if changed else "a file is missing or has another place"
        raise SettingsError(f"{output} was made of other input: {what}. --force starts over.", param="--force")
    return Job(output, note)


def write_note(output: str, note: Note) -> None:
    """Write the note of a job as a whole."""
    write_whole(join(output, NOTE), msgspec.json.format(msgspec.json.encode(note)))


def _read_note(output: str) -> Note | None:
    data = read_if_there(join(output, NOTE))
    if data is None:
        return None
    try:
        note = msgspec.json.decode(data, type=Note)
    except (msgspec.MsgspecError, ValueError) as error:
        raise SettingsError(f"{join(output, NOTE)} is damaged; --force starts over.", param="--force") from error
    if note.format != _FORMAT:
        raise SettingsError(f"{join(output, NOTE)} was written by another version; --force starts over.")
    return note


def _make_room(output: str, *, force: bool) -> None:
    """Remove the parts of an earlier job, the note first, so that no half of them is taken for a job's own."""
    found = names_in(output)
    if found and not force:
        raise SettingsError(f"{output} holds other files; --force replaces the parts among them.", param="--output")
    ours = [name for name in found if name == NOTE or name.startswith("part-")]
    for name in sorted(ours, key=lambda name: name != NOTE):
        remove(join(output, name))


def _other_option(before: Options, now: Options) -> str | None:
    """Return the name of the first option that differs."""
    for one, other in ((before.wanted, now.wanted), (before, now)):
        for field in msgspec.structs.fields(one):
            if field.name != "wanted" and getattr(one, field.name) != getattr(other, field.name):
                return f"{field.name}: {getattr(one, field.name)!r}, not {getattr(other, field.name)!r}"
    return None
