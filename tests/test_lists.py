"""The one reader of lists: what it takes, what it refuses, and that it says where."""

import codecs
import csv
import io
import math
import os
import unicodedata
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crossview.errors import BadData, BadImagery
from crossview.lists import (
    MAX_BYTES,
    Folder,
    decode_text,
    name_key,
    number,
    read_cells,
    read_header,
    read_table,
    split_lines,
)

NEEDED = ("file", "lat", "lon")
LIST = "file,lat,lon\nköln.jpg,50.94,6.96\nb.jpg,52.5,13.4\n"
PLACES = [("köln.jpg", 50.94, 6.96), ("b.jpg", 52.5, 13.4)]
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-32")


def written(tmp_path, content, encoding="utf-8"):
    path = tmp_path / "list.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return path


def places(tmp_path, content, **options):
    table = read_table(written(tmp_path, content), needed=NEEDED, **options)
    return [(row.text("file"), *row.place()) for row in table]


def refusal(tmp_path, content, **options):
    with pytest.raises(BadData) as caught:
        places(tmp_path, content, **options)
    said = str(caught.value)
    assert said.startswith(str(tmp_path / "list.csv"))
    assert 1 <= len(said.splitlines()) <= 3
    return said


# --- text


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_one_list_in_every_encoding_and_with_every_line_end(tmp_path, encoding, end):
    assert places(tmp_path, LIST.replace("\n", end).encode(encoding)) == PLACES


@pytest.mark.parametrize("mark", [codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
def test_utf_16_is_read_in_either_order_of_bytes(mark):
    order = "utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-16-be"
    assert decode_text(mark + "ö,1".encode(order), "x") == "ö,1"


def test_a_list_that_two_programs_marked_has_no_mark_in_its_first_column(tmp_path):
    assert places(tmp_path, codecs.BOM_UTF8 + LIST.encode("utf-8-sig")) == PLACES


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp850", "gb18030", "shift_jis"])
def test_other_encodings_are_refused_with_their_line_and_never_guessed(tmp_path, encoding):
    letter = "ö" if encoding in {"latin-1", "cp1252", "cp850"} else "市"
    said = refusal(tmp_path, LIST.replace("b", letter).replace("ö", "o", 1).encode(encoding))
    assert "line 3: 0x" in said
    assert "is not UTF-8" in said
    assert "Save it as UTF-8" in said


def test_utf_16_without_its_mark_and_nul_bytes_are_refused(tmp_path):
    assert "line 1: a NUL byte" in refusal(tmp_path, "file,lat,lon\n".encode("utf-16-le"))
    assert "line 2: a NUL byte" in refusal(tmp_path, b"file,lat,lon\na\0.jpg,1,2\n")


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1e"])
def test_nothing_else_ends_a_line(tmp_path, odd):
    text = LIST.replace("b.jpg", f"b{odd}.jpg")
    assert places(tmp_path, text)[1] == (f"b{odd}.jpg", 52.5, 13.4)
    assert len(text.splitlines()) == 4  # what Python takes for ends
    assert len(list(split_lines(text))) == 3


def test_lines_are_split_as_text_files_are():
    text = "a\r\nb\rc\n\n\r\rd"
    assert list(split_lines(text)) == list(io.StringIO(text, newline=""))


def test_a_list_that_is_absent_a_folder_or_too_large_is_named(tmp_path, monkeypatch):
    with pytest.raises(BadData, match=r"No list of places at .*absent\.csv"):
        read_table(tmp_path / "absent.csv", needed=NEEDED, what="list of places")
    with pytest.raises(BadData, match="cannot be read as a list: Is a directory"):
        read_table(tmp_path, needed=NEEDED)
    assert MAX_BYTES == 2**30
    monkeypatch.setattr("crossview.lists.MAX_BYTES", 10)
    assert "is larger than 1 GiB" in refusal(tmp_path, LIST)


def test_errors_are_of_the_class_that_is_asked_for(tmp_path):
    with pytest.raises(BadImagery, match="line 2: lat"):
        places(tmp_path, "file,lat,lon\na,x,1\n", error=BadImagery)


# --- cells and headers


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_the_separator_is_the_one_that_gives_the_header_its_columns(tmp_path, separator):
    assert places(tmp_path, LIST.replace(",", separator)) == PLACES


def test_a_separator_inside_of_cells_is_none(tmp_path):
    text = 'file;lat;lon;"note, or not"\n"a;1,2.jpg";1;2;"x, y, z"\n'
    assert places(tmp_path, text) == [("a;1,2.jpg", 1.0, 2.0)]


@pytest.mark.parametrize("hint", ["sep=;", "SEP=;", '"sep=;"', "sep=;\r", "sep=;;;", "sep=; "])
def test_the_first_line_that_spreadsheets_write_for_each_other_is_obeyed(tmp_path, hint):
    text = f"{hint}\n{LIST.replace(',', ';')}"
    assert places(tmp_path, text) == PLACES
    assert "line 3: lat is 'x'" in refusal(tmp_path, text.replace("50.94", "x"))


def test_a_tab_may_be_the_separator_that_a_first_line_names(tmp_path):
    assert places(tmp_path, "sep=\t\n" + LIST.replace(",", "\t")) == PLACES


def test_spaces_and_case_of_a_header_do_not_count(tmp_path):
    assert places(tmp_path, " File , LAT,Lon\n a.jpg , 1 ,2 \n") == [("a.jpg", 1.0, 2.0)]


@pytest.mark.parametrize(
    "text", ["", "\n\n", ",,\n", "name,lat,lon\na,1,2\n", "a|b|c\n", LIST[20:]]
)
def test_a_header_without_its_columns_is_refused(tmp_path, text):
    assert "line 1: the header has no column file" in refusal(tmp_path, text)


@pytest.mark.parametrize("twice", ["lat", "LAT", " lat ", "Lat"])
def test_a_column_that_is_there_twice_is_refused(tmp_path, twice):
    said = refusal(tmp_path, f"file,lat,lon,{twice}\na.jpg,1,2,3\n")
    assert "line 1: the column lat is there twice" in said


def test_unknown_columns_are_read_past_or_refused_as_the_list_has_it(tmp_path):
    text = "file,lat,lon,camera\na.jpg,1,2,old\n"
    assert places(tmp_path, text) == [("a.jpg", 1.0, 2.0)]
    assert "unknown columns camera" in refusal(tmp_path, text, allowed=NEEDED)


@pytest.mark.parametrize(
    "row", ["a.jpg,52,52,13,4", "a.jpg,1,2,", "a.jpg,1", "a.jpg", "a.jpg,1,2,,"]
)
def test_more_or_fewer_cells_than_the_header_has_are_refused(tmp_path, row):
    said = refusal(tmp_path, f"file,lat,lon\nb.jpg,1,2\n{row}\n")
    assert f"line 3: {row.count(',') + 1} cells, but the header has 3" in said


def test_empty_columns_of_a_spreadsheet_are_nothing_and_hold_nothing(tmp_path):
    assert places(tmp_path, "file,lat,lon,,\na.jpg,1,2,, \n") == [("a.jpg", 1.0, 2.0)]
    said = refusal(tmp_path, "file,lat,lon,,\na.jpg,52,52,13,4\n")
    assert "line 2: a cell stands under no name of the header" in said


def test_blank_lines_are_left_out_and_counted(tmp_path):
    text = "\n \nfile,lat,lon\n\n,,\n , ,\n\t\na.jpg,1,2\n\n"
    assert places(tmp_path, text) == [("a.jpg", 1.0, 2.0)]
    assert "line 8: lat is 'x'" in refusal(tmp_path, text.replace("1", "x"))


def test_a_quoted_cell_may_hold_line_ends_and_the_line_is_the_first(tmp_path):
    text = 'file,lat,lon,note\na.jpg,1,2,"one\ntwo\r\nthree"\nb.jpg,x,2,\n'
    assert "line 5: lat is 'x'" in refusal(tmp_path, text)
    assert "line 2: lat is 'x'" in refusal(tmp_path, text.replace("1", "x"))


@pytest.mark.parametrize("row", ['"a.jpg,1,2\nb.jpg,3,4', '"a"b.jpg,1,2', '"a.jpg" ,1,2'])
def test_quotes_that_do_not_close_are_refused_with_their_line(tmp_path, row):
    assert "line 3: " in refusal(tmp_path, f"file,lat,lon\nz.jpg,1,2\n{row}\n")


def test_a_comment_is_a_row_like_others(tmp_path):
    assert "line 2: 1 cells" in refusal(tmp_path, "file,lat,lon\n# a remark\n")


def test_the_header_alone_tells_what_a_list_is(tmp_path):
    path = written(tmp_path, b"File;Lat;Lon\n\xfc;1;2\n" + b"x" * 100_000)
    assert read_header(path) == set()  # no text
    path = written(tmp_path, ("File;Lat;Lon\n" + "ü;1;2\n" * 20_000).encode("utf-16"))
    assert read_header(path) == {"file", "lat", "lon"}
    assert read_header(tmp_path / "absent.csv") == set()


# --- numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1.0), ("-0.5", -0.5), ("+.25", 0.25), ("3.", 3.0), ("1e-3", 1e-3), ("2.5E+1", 25.0)],
)
def test_numbers_as_programs_write_them(text, value):
    assert number("x", text, (-1e3, 1e3), "here") == value


NO_NUMBERS = (
    "nan NaN inf -Infinity 1e999 1_000 ٣ １ −1 0x10 1.2.3 52.5° 1,2,3 1.234,5 1,234.5 1'000"
)


@pytest.mark.parametrize(
    "text", [*NO_NUMBERS.split(), "1 000", ".", "-", "e3", "1e", "--1", "0,95"]
)
def test_what_is_no_number_is_refused(text):
    with pytest.raises(BadData, match="here: x is .*; expected a finite number"):
        number("x", text, (-math.inf, math.inf), "here")


def test_a_number_beyond_its_limits_is_refused_and_an_empty_one_is_unknown():
    with pytest.raises(BadData, match="here: lat is '91'; expected a number from -90 to 90"):
        number("lat", "91", (-90.0, 90.0), "here")
    assert math.isnan(number("lat", "", (-90.0, 90.0), "here"))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("file;lat;lon\na;52,5;13,4\n", (52.5, 13.4)),
        ("file;lat;lon\na;52,520;13,405\n", (52.52, 13.405)),
        ('file,lat,lon\na,"52,5","-0,25"\n', (52.5, -0.25)),
        ('file,lat,lon\na,"52,520",13\n', (52.52, 13.0)),  # 52520 is no latitude
        ("file\tlat\tlon\na\t52,5\t,5\n", (52.5, 0.5)),
        ('file;lat;lon\na;"52,5";"1,5e1"\n', (52.5, 15.0)),
    ],
)
def test_a_comma_is_the_decimal_mark_where_it_can_be_nothing_else(tmp_path, text, read):
    assert places(tmp_path, text) == [("a", *read)]


def scores(tmp_path, text):
    return [row.number("score") for row in read_table(written(tmp_path, text), needed=("score",))]


@pytest.mark.parametrize("separator", [",", "\t"])
def test_a_comma_that_could_part_thousands_is_refused(tmp_path, separator):
    with pytest.raises(BadData, match=r"line 2: score is '1,234', which is 1.234 or 1234"):
        scores(tmp_path, f'id{separator}score\na{separator}"1,234"\n')
    for text, value in (
        ("0,234", 0.234),
        ("1234,5", 1234.5),
        ("1,2345", 1.2345),
        ("01,234", 1.234),
    ):
        assert scores(tmp_path, f'id{separator}score\na{separator}"{text}"\n') == [value]


@pytest.mark.parametrize("rows", ["a;0,5\nb;0.5\n", "a;0.5\nb;7\nc;0,5\n"])
def test_a_list_has_one_decimal_mark(tmp_path, rows):
    with pytest.raises(BadData, match="but line 2 writes numbers with the other decimal mark"):
        scores(tmp_path, f"id;score\n{rows}")


# --- lists without a header


def test_lists_without_a_header(tmp_path):
    path = written(tmp_path, '\ufeffa, b ,c\r\n\r\n ,,\nd,"e,f",\u2028g\n', "utf-8")
    assert list(read_cells(path)) == [(1, ["a", "b", "c"]), (4, ["d", "e,f", "\u2028g"])]
    path = written(tmp_path, "a  1\t2 \n\n \n\u2028b\x0cc 'd \"e\n")
    assert list(read_cells(path, None)) == [(1, ["a", "1", "2"]), (4, ["\u2028b\x0cc", "'d", '"e'])]


# --- names


SPELLINGS = [
    "a/b.jpg",
    "./a/b.jpg",
    "a//b.jpg",
    "a/./b.jpg",
    "a\\b.jpg",
    ".\\a\\b.jpg",
    "x/../a/b.jpg",
]


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings_of_one_name_are_one_name(tmp_path, name):
    assert name_key(name) == "a/b.jpg"
    folder = Folder(tmp_path)
    assert folder.key(name) == "a/b.jpg"
    assert folder.key(str(tmp_path / name)) == "a/b.jpg"
    assert folder.key(f"../{tmp_path.name}/{name}") == "a/b.jpg"


def test_names_that_differ_stay_different(tmp_path):
    folder = Folder(tmp_path)
    names = [
        "a.jpg",
        "A.jpg",
        "a.jpeg",
        "x/a.jpg",
        "../a.jpg",
        "/a.jpg",
        "ａ.jpg",
        ".a.jpg",
        "å",
        "a",
    ]
    assert len({folder.key(name) for name in names}) == len(names)


@pytest.mark.parametrize("listed", ["NFC", "NFD"])
@pytest.mark.parametrize("stored", ["NFC", "NFD"])
@pytest.mark.parametrize("name", ["müller.jpg", "Straße é/ñandú.jpg", "한국/가.jpg", "ﬁ/Å.png"])
def test_a_file_is_found_in_whichever_unicode_form_it_is_stored(tmp_path, name, listed, stored):
    path = tmp_path / unicodedata.normalize(stored, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    folder = Folder(tmp_path)
    for spelled in (name, f"./{name}", name.replace("/", "\\"), name.replace("/", "//"), str(path)):
        found = folder.file(unicodedata.normalize(listed, spelled))
        assert found.is_file()
        assert found.samefile(path)


def test_a_file_that_is_there_as_written_is_that_file(tmp_path):
    both = [unicodedata.normalize(form, "ü.jpg") for form in ("NFC", "NFD")]
    for name in both:
        (tmp_path / name).write_text(name)
    if len(os.listdir(tmp_path)) == 2:  # else this disk knows one form only
        assert [Folder(tmp_path).file(name).read_text() for name in both] == both
    (tmp_path / "a\\b.jpg").write_bytes(b"x")
    assert Folder(tmp_path).file("a\\b.jpg").is_file()


def test_a_file_that_is_not_there_is_named_as_it_was_written(tmp_path):
    assert Folder(tmp_path).file("x/ü.jpg") == tmp_path / "x" / "ü.jpg"
    assert Folder(tmp_path).file("x\\u.jpg") == tmp_path / "x" / "u.jpg"


def test_a_folder_reached_by_a_link_holds_the_same_files(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert Folder(tmp_path / "link").key(str(tmp_path / "real" / "a.jpg")) == "a.jpg"


# --- whatever comes


quick = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
WORDS = ("file", "lat", "lon", "a.jpg", "ü", "1", "52.5", "0,95", "nan", "sep=", "1e99", "../")
bits = st.sampled_from(
    [*WORDS, *',;-=\\ "\0\t\n\r\f\ufeff\u2028\x85', "\r\n", "x" * 200, "9" * 5000]
)


@quick
@given(
    st.one_of(st.binary(max_size=200), st.lists(bits, max_size=40).map("".join)), st.integers(0, 3)
)
def test_whatever_comes_is_read_or_refused_in_our_words(tmp_path, content, encoding):
    data = content if isinstance(content, bytes) else content.encode(ENCODINGS[encoding])
    path = written(tmp_path, data if encoding else b"file,lat,lon\n" + data)
    for read in (
        lambda: [(row.text("file"), row.place()) for row in read_table(path, needed=NEEDED)],
        lambda: list(read_cells(path)),
        lambda: list(read_cells(path, None)),
    ):
        with suppress(BadData):
            read()
    assert isinstance(read_header(path), set)


@quick
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1),
            st.floats(-90, 90),
        ),
        max_size=8,
    )
)
def test_what_is_written_is_what_is_read(tmp_path, rows):
    text = io.StringIO()
    csv.writer(text).writerows([NEEDED, *[[name, lat, 0] for name, lat in rows]])
    table = read_table(written(tmp_path, text.getvalue()), needed=NEEDED)
    read = [(row.text("file"), row.number("lat", -90, 90)) for row in table]
    assert read == [(name.strip(" \t\r\n"), lat) for name, lat in rows]


@quick
@given(st.text(min_size=1))
def test_a_name_is_its_own_key_once_it_is_one(name):
    assert name_key(name_key(name)) == name_key(name)
    assert name_key(unicodedata.normalize("NFD", name)) == name_key(
        unicodedata.normalize("NFC", name)
    )
