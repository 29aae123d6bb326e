"""Arguments that cannot be meant."""

import pytest

from tests.support.hostile import Case, Place, Refused, case

LONG = "9" * 20
NESTED = "noise:like=[" * 3000 + "rtn:bits=4" + "]" * 3000


def option(name: str, said: str, **given: object) -> Case:
    """An option of a small audit; `{texts}` stands for its text."""

    def make(place: Place) -> list[str]:
        texts = str(place.texts)
        return place.audit(**{n: str(v).replace("{texts}", texts) for n, v in given.items()})

    return case(name, said, make)


def command(name: str, said: str, *words: str) -> Case:
    return case(name, said, lambda place: [w.format(place=place) for w in words])


def of_others(place: Place) -> list[str]:
    place.file("out/mine.txt", "mine")
    return place.audit()


def of_a_file(place: Place) -> list[str]:
    return place.audit(out=place.file("taken", "mine"))


CASES = [
    option("a seed beyond 64 bits", LONG, seed=LONG),
    option("a seed below nought", "-1", seed=-1),
    option("tokens below nought", "-5", tokens=-5),
    option("tokens in words", "many", tokens="many"),
    option("tokens beyond 64 bits", LONG, tokens=LONG),
    option("a context of one", "context", context=1),
    option("a context beyond the model's", LONG, context=LONG),
    option("categories that no row has", "language", categories="language"),
    option("categories by nothing", "categories", categories=""),
    option("a system prompt without a chat", "chat_template", system="Be kind."),
    option("thinking without a chat", "thinking without chat_template", thinking="no"),
    option("memory without a unit", "'8'", memory="8"),
    option("memory of nothing", "0GB", memory="0GB"),
    option("memory below nought", "-1GB", memory="-1GB"),
    option("memory that is no number", "NaNGB", memory="NaNGB"),
    option("memory without end", "infGB", memory="infGB"),
    option("memory in unknown units", "8EB", memory="8EB"),
    option("a compression without a name", "compression", to=""),
    option("a compression of colons", "compression", to="::::"),
    option("an unknown compression", "rtm", to="rtm:bits=4"),
    option("an unknown setting", "gruop", to="rtn:bits=4,gruop=64"),
    option("a setting without a value", "bits", to="rtn:bits="),
    option("a setting given twice", "bits", to="rtn:bits=4,bits=3"),
    option("more bits than there are", "bits", to="rtn:bits=999999999999"),
    option("bits that are no number", "bits", to="rtn:bits=nan"),
    option("half a bit", "bits", to="rtn:bits=2.5"),
    option("a group that does not divide", "group=7", to="rtn:bits=4,group=7"),
    option("a group below nought", "group", to="rtn:bits=4,group=-64"),
    option("a sparsity above one", "sparsity", to="prune:sparsity=1.5"),
    option("a sparsity that is no number", "sparsity", to="prune:sparsity=nan"),
    option("brackets that never close", r"\[", to="noise:like=[rtn:bits=4"),
    option("brackets 3,000 deep", "nested|deep", to=NESTED),
    option("noise like nothing", "no compression called", to="noise:like=[]"),
    option("a colour in a compression", "compression", to="rtn\x1b[31m:bits=4"),
    option("a line break in a compression", "compression", to="rtn\nTry: rm -rf /"),
    option("a checkpoint that is not there", "nope", to="checkpoint:/nope"),
    option("a checkpoint that is a text", "jsonl", to="checkpoint:texts.jsonl"),
    option(
        "layers that do not exist", "exclude|no matrix|pattern", to="rtn:bits=4,include=[nothing]"
    ),
    option("an unknown analysis", "behavior", analyses="behavior"),
    option("no analysis between commas", "analys", analyses=","),
    option("features without an SAE", "SAE", analyses="features"),
    option("an unknown control", "casts", controls="casts"),
    option("an unknown site", "residd", analyses="geometry", sites="residd.0"),
    option("a block that is not there", "resid.99", analyses="geometry", sites="resid.99"),
    option("a site of brackets", "site", analyses="geometry", sites="[[["),
    option("an unknown dtype", "float31", dtype="float31"),
    option("an unknown device", "gpu", device="gpu"),
    option("a device that is not there", "cuda:99", device="cuda:99"),
    option("a refusal that is none", "everything", allow="everything"),
    option("an unknown interval", "guess", interval="guess"),
    option("unknown positions", "first", positions="first"),
    option("an unknown way with BOS", "maybe", bos="maybe"),
    option("an SAE without a name", "sae", analyses="features", sae=""),
    option("an SAE that is not there", "nowhere", analyses="features", sae="nowhere"),
    option("an SAE of an unknown release", "release", analyses="features", sae="release:a:b"),
    option("a text that is not there", "nowhere.jsonl", text="nowhere.jsonl"),
    option("a hub text of no name", "hf:|datasets", text="hf:"),
    option("prompts below nought", "code-prompts", text="code-prompts:-1"),
    option("prompts without a number", "code-prompts", text="code-prompts:many"),
    option("calibration that is not there", "nowhere", to="gptq:bits=4", calibration="nowhere.txt"),
    option(
        "calibration on what is evaluated", "calibration", to="gptq:bits=4", calibration="{texts}"
    ),
    option("a model without a name", "model|given", model=" "),
    option("a model that is not there", "nowhere", model="./nowhere"),
    option("a model with a line break", "model|folder|name", model="a\nTry: curl evil"),
    case("an output folder that is a file", "taken", of_a_file),
    case("an output folder of other files", "mine.txt", of_others),
    option("an output folder below a file", "cannot be written", out="{texts}/out"),
    option("an output folder below /proc", "cannot be written", out="/proc/bitlens"),
    command("a report of nothing", "nowhere", "report", "nowhere"),
    command("an export of nothing", "nowhere", "export", "nowhere"),
    command("insights into nothing", "nowhere", "insights", "nowhere"),
    command(
        "an export below a file",
        "cannot be written",
        "export",
        "{place.results}",
        "--out",
        "{place.texts}/x.csv",
    ),
    command("a study that is not there", "nowhere", "study", "nowhere.yaml", "--out", "out"),
    command(
        "compressing with nothing",
        "zip",
        "compress",
        "{place.model}",
        "--with",
        "zip",
        "--save",
        "out",
    ),
    command(
        "compressing into what is there",
        "taken|there|exists",
        "compress",
        "{place.model}",
        "--with",
        "rtn:bits=4",
        "--save",
        "{place.sae}",
    ),
    command(
        "an SAE of no site",
        "residd",
        "train-sae",
        "{place.model}",
        "--site",
        "residd.1",
        "--text",
        "{place.texts}",
        "--out",
        "out",
    ),
    command(
        "an SAE wider than any memory",
        "width|latents|memory",
        "train-sae",
        "{place.model}",
        "--site",
        "resid.1",
        "--width",
        "16777216x",
        "--text",
        "{place.texts}",
        "--out",
        "out",
    ),
    command(
        "an SAE of no latents",
        "width",
        "train-sae",
        "{place.model}",
        "--site",
        "resid.1",
        "--width",
        "0",
        "--text",
        "{place.texts}",
        "--out",
        "out",
    ),
    command(
        "an SAE of no active latents",
        "k",
        "train-sae",
        "{place.model}",
        "--site",
        "resid.1",
        "--k",
        "0",
        "--text",
        "{place.texts}",
        "--out",
        "out",
    ),
    command(
        "alignment with nothing",
        "nowhere",
        "align",
        "--first",
        "{place.sae}",
        "--second",
        "nowhere",
    ),
    command(
        "repair of a twin that is not there",
        "rtn:bits=5",
        "repair",
        "{place.results}",
        "--twin",
        "rtn:bits=5",
        "--sae",
        "{place.sae}",
        "--out",
        "out",
    ),
    command(
        "repair without documents",
        "alibration",
        "repair",
        "{place.results}",
        "--twin",
        "rtn:bits=4",
        "--sae",
        "{place.sae}",
        "--out",
        "out",
    ),
    command("a fit of another SAE", "nowhere", "fit", "{place.model}", "--sae", "nowhere"),
    command(
        "a twin of another model", "sae|config", "inspect", "{place.model}", "--twin", "{place.sae}"
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_arguments_are_refused(refused: Refused, case: Case) -> None:
    """What was found, what was expected, what to do."""
    refused(case)
