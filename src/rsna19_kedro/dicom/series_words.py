"""Contrast agent and body part, from the texts of a series (kernels: ``kernels.py``).

Dedicated attributes take precedence over free text. A result is certain only if nothing
contradicts it. The choice of series refuses certain misfits and ranks doubtful ones lower.
"""

import re
import unicodedata
from enum import Enum
from functools import lru_cache
from typing import Final


class Contrast(Enum):
    """Whether intravenous contrast agent was given."""

    UNKNOWN = "unknown"
    ABSENT = "without contrast agent"
    DOUBTFUL = "its header contradicts itself about contrast agent"
    GIVEN = "with contrast agent, which looks like blood"


class Region(Enum):
    """Body region that a series shows."""

    UNKNOWN = "unknown"
    HEAD = "a head"
    DOUBTFUL = "its header does not clearly say that it shows the whole head"
    OTHER = "not a head, according to its body part or description"


def word_set(text: str) -> frozenset[str]:
    """Split a vocabulary into its words."""
    return frozenset(text.split())


_WITHOUT: Final = word_set(
    """
    without wo un ohne sans senza sin sem zonder uden utan bez без minus non no not kein keine pre
    vor avant before
    """
)
"""Words that negate the words after them."""
_PLAIN: Final = word_set(
    """
    without wo woc wocon wocm woivcon nat ohne sans senza zonder uden utan bez без plain unenhanced
    ncct nect nc cminus basal blanco pre simple spc
    """
)
"""Words that alone mean that no contrast agent was given."""
_PLAIN_STARTS: Final = (
    *("nativ", "nonc", "nonenh", "nonkm", "precon", "unenh", "wocontr", "withoutc", "натив"),
)
_WITH: Final = word_set(
    """
    with w mit avec con com met med nach apres after dopo tras plus following
    """
)
_AGENTS: Final = word_set(
    """
    km mdc pdc dye inj injection injecte iohexol omnipaque accupaque iopamidol isovue
    solutrast iomeron imeron iomeprol iodixanol visipaque iopromide ultravist ioversol
    optiray iobitridol xenetix jodkm
    """
)
_AGENT_STARTS: Final = ("contr", "kontr", "jodhalt", "gadol", "infus", "контраст")
_GIVEN: Final = word_set(
    """
    cplus wc wcon wcm wivcon gad portal cow willis bolus smartprep arterial arteriel arteriell
    venous venos delayed delay enhanced enhancement cect ce cbf cbv mtt tmax ttp
    """
)
_GIVEN_STARTS: Final = (
    "perf",
    "carotid",
    "karotis",
    "venogra",
    "arteriogra",
    "postc",
    "postk",
    "postg",
    "wcontr",
)
_CT_VESSELS: Final = re.compile(r"ct[avp](head|brain|neck|cow|h|n|\d.*)?$")
_AFTER_SOMETHING_ELSE: Final = re.compile(
    r"op|fos|traum|surg|cran|tpa|lys|thromb|evd|shunt|coil|clip|drain|mortem|partum|ictal|proc|"
    r"stent|interv|ivt|emboli|resec|implant|treat|rt$|xrt|fall|ct$|mr|\d+h"
)
"""Words after a 'post' that is not about contrast agent: post op, post fossa, post 24h."""
_SPELLINGS: Final = (
    (r"\bi\.\s?v\.?", " iv "),
    (r"\bk\.\s?m\.?", " km "),
    (r"\bw\s?[/-]\s?o\b", " without "),
    (r"\bw\s?/", " with "),
    (r"\bo\.?\s?(?=km\b)", " ohne "),
    (r"\bm\.?\s?(?=km\b)", " mit "),
    (r"\bs/c\b", " cminus "),
    (r"\bc/c\b", " cplus "),
    (r"\+\s?/\s?-", " cplus cminus "),
    (r"(?<![a-z0-9])(?:c|iv|km)\s?\+|\+(?:c|iv|km)(?!\s?-?\s?sp|[a-z0-9])", " cplus "),
    (
        r"(?<![a-z0-9])(?:c|iv|km)\s?-(?![a-z0-9])|(?<![a-z0-9])-(?:c|iv|km)(?![a-z0-9-])",
        " cminus ",
    ),
)

_LETTERS: Final = str.maketrans({"ß": "ss", "ł": "l", "ø": "o", "æ": "ae", "đ": "d"})
"""Letters that Unicode normalisation does not decompose."""

_NO_AGENT: Final = word_set(
    """
    none no n na nil 0 null neg negative nein keine kein false nie ne
    """
)
_NOT_IN_BLOOD: Final = word_set(
    """
    oral orally rectal water po gastrografin barium
    """
)

_HEAD: Final = word_set(
    """
    brain skull cct ncct nect stroke tete cabeza cabeca testa capo hoofd hode huvud caput
    glowa glowy ich tbi cow willis fossa beyin kafa hoved tvl
    """
)
_HEAD_STARTS: Final = (
    *("head", "cerebr", "cran", "kran", "schadel", "schaedel", "kopf", "neuro", "enceph"),
    *("encef", "hersen", "hjern", "hjarn", "mozg", "intracran", "calvar", "ctahead", "ctabrain"),
    *("hirn", "gehirn", "голов", "мозг", "头", "頭", "脑", "脳", "颅"),
)
_PART_OF_HEAD: Final = word_set(
    """
    face facial iac iam ear nnh tmj jaw nasal sella pituitary dvt
    """
)
_PART_OF_HEAD_STARTS: Final = (
    *("sinus", "orbit", "maxill", "mandib", "dental", "tempor", "petros", "mastoid", "felsenb"),
    *("gesicht", "massif", "rocher"),
)
_OTHER: Final = word_set(
    """
    chest neck hals spine hip hips knee foot feet ankle wrist hand elbow femur tibia leg arm
    heart liver kidney renal aorta bladder breast hws bws lws torax torace rachis larynx
    cervical shoulder colon rib ribs thigh calf heel sternum tap kub runoff cuello cou
    """
)
_OTHER_STARTS: Final = (
    *("thora", "lung", "abdo", "pelv", "becken", "lumb", "cspine", "tspine", "lspine", "cardia"),
    *("coronar", "extremi", "prostat", "wirbel", "column", "colonn", "wholebody", "poumon"),
    *("груд", "胸", "humer", "forearm", "urin", "pancrea", "spleen", "schulter", "knie"),
)


def words_of(text: str) -> list[str]:
    """Split a text into lower-case words without accents."""
    plain = unicodedata.normalize("NFKD", text.lower().translate(_LETTERS))
    plain = "".join(c for c in plain if not unicodedata.combining(c)).replace("_", " ")
    for pattern, word in _SPELLINGS:
        plain = re.sub(pattern, word, plain)
    return re.findall(r"[^\W_]+", plain)


@lru_cache(maxsize=4096)
def contrast_in_text(text: str) -> Contrast:
    """Return what a description says about contrast agent.

    Args:
        text: SeriesDescription (0008,103E) or another free text.
    """
    words = words_of(text)
    given = plain = False
    denied_until = -1
    for index, word in enumerate(words):
        rest = words[index + 1 :]
        denied = index <= denied_until
        if word == "post":
            given |= not (rest and _AFTER_SOMETHING_ELSE.match(rest[0]))
        elif _gives(word) or (word in _WITH and _with_agent(word, rest)):
            given |= not denied
            plain |= denied
        elif word in _WITHOUT:
            about = _until_and(rest)
            if any(_gives(other) or other == "iv" for other in about) or _is_c(rest):
                denied_until = index + len(about)
                plain = True
            elif not (rest and _AFTER_SOMETHING_ELSE.match(rest[0])):
                plain |= word in _PLAIN
        elif word in _PLAIN or word.startswith(_PLAIN_STARTS) or "平扫" in word:
            plain = True
    if given and plain:
        return Contrast.DOUBTFUL
    return Contrast.GIVEN if given else Contrast.ABSENT if plain else Contrast.UNKNOWN


@lru_cache(maxsize=4096)
def contrast_of(
    agent: str, volume_ml: float | None, description: str, others: tuple[str, ...] = ()
) -> Contrast:
    """Return whether a series was acquired with contrast agent.

    Args:
        agent: ContrastBolusAgent (0018,0010).
        volume_ml: ContrastBolusVolume (0018,1041).
        description: SeriesDescription.
        others: Texts about the whole examination (ProtocolName, StudyDescription). They may
            refer to another phase and therefore only raise doubt.
    """
    by_agent = _contrast_by_agent(agent, volume_ml)
    by_text = contrast_in_text(description)
    if by_agent is Contrast.UNKNOWN and by_text is Contrast.UNKNOWN:
        by_others = {contrast_in_text(text) for text in others}
        return Contrast.DOUBTFUL if Contrast.GIVEN in by_others else Contrast.UNKNOWN
    if by_agent is Contrast.UNKNOWN or by_text is Contrast.UNKNOWN:
        return by_text if by_agent is Contrast.UNKNOWN else by_agent
    return by_agent if by_agent is by_text else Contrast.DOUBTFUL


@lru_cache(maxsize=4096)
def region_of(body_part: str, description: str, others: tuple[str, ...] = ()) -> Region:
    """Return whether a series shows a head.

    Args:
        body_part: BodyPartExamined (0018,0015).
        description: SeriesDescription.
        others: ProtocolName, StudyDescription.
    """
    structured, text = _regions(body_part), _regions(description)
    elsewhere = _regions(" ".join(others))
    if Region.HEAD in structured:
        only_other = Region.OTHER in text and Region.HEAD not in text
        return Region.DOUBTFUL if only_other else Region.HEAD
    if Region.HEAD in text:
        return Region.DOUBTFUL if Region.OTHER in structured else Region.HEAD
    regions = structured | text
    if not regions:
        if not elsewhere:
            return Region.UNKNOWN
        return Region.HEAD if Region.HEAD in elsewhere else Region.DOUBTFUL
    if Region.OTHER in regions:
        return Region.DOUBTFUL if Region.HEAD in elsewhere else Region.OTHER
    return Region.DOUBTFUL


def _gives(word: str) -> bool:
    return (
        word in _AGENTS
        or word in _GIVEN
        or word.startswith((*_AGENT_STARTS, *_GIVEN_STARTS))
        or "angio" in word
        or "增强" in word
        or _CT_VESSELS.match(word) is not None
    )


def _with_agent(word: str, rest: list[str]) -> bool:
    if word in ("w", "with", "mit", "avec") and (not rest or rest[0] in ("without", "wo", "con")):
        return True
    return any(other == "iv" or other in _AGENTS for other in rest[:2]) or _is_c(rest)


def _is_c(words: list[str]) -> bool:
    """Return whether the first word is C for contrast rather than for C-spine."""
    return words[:1] in (["c"], ["cm"]) and not "".join(words[1:2]).startswith("sp")


def _until_and(words: list[str]) -> list[str]:
    """Return the words that a negation covers."""
    covered = []
    for word in words[:3]:
        if word in ("and", "und", "et", "y", "e", "post", *_WITH):
            break
        covered.append(word)
    return covered


def _contrast_by_agent(agent: str, volume_ml: float | None) -> Contrast:
    words = words_of(agent)
    if not words or words[0] in ("unknown", "unk"):
        given = volume_ml is not None and volume_ml > 0 and not words
        return Contrast.GIVEN if given else Contrast.UNKNOWN
    if words[0] in _NO_AGENT | _WITHOUT or contrast_in_text(agent) is Contrast.ABSENT:
        return Contrast.ABSENT
    if _NOT_IN_BLOOD.intersection(words) and "iv" not in words:
        return Contrast.ABSENT
    return Contrast.DOUBTFUL if volume_ml == 0 else Contrast.GIVEN


def _regions(text: str) -> set[Region]:
    regions = set()
    for word in words_of(text):
        if word in _HEAD or word.startswith(_HEAD_STARTS):
            regions.add(Region.HEAD)
        elif word in _PART_OF_HEAD or word.startswith(_PART_OF_HEAD_STARTS):
            regions.add(Region.DOUBTFUL)
        elif word in _OTHER or word.startswith(_OTHER_STARTS):
            regions.add(Region.OTHER)
    return regions
