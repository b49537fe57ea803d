"""All that the lab says, in English and in Korean: one table, in the order of the page.

A text is found by its key, and `{name}` in it is filled in: `Words("ko")("held out", way="…")`.
"""

from typing import Any, NamedTuple

from gammabeta.errors import DataError

LANGUAGES = {"en": "English", "ko": "한국어"}


class Text(NamedTuple):
    """A text in each language."""

    en: str
    ko: str


class Words:
    """The lab's texts in one language.

    Args:
        language: one of `LANGUAGES`.

    Raises:
        DataError: the language is none of them.

    >>> Words("en")("layers as one map", n=3), Words("ko")("layers as one map", n=3)
    ('3 layers without activation, as one map', '활성화 함수 없는 층 3개를 하나의 변환으로')
    """

    def __init__(self, language: str) -> None:
        if language not in LANGUAGES:
            raise DataError(f"the lab's language must be one of {', '.join(LANGUAGES)}, got {language!r}")
        self.language = language

    def __call__(self, key: str, **values: Any) -> str:
        text: str = getattr(TABLE[key], self.language)
        return text.format(**values) if values else text


TABLE = {
    "introduction": Text(
        r"""
# Normalization, seen

**Every normalization is a statistic followed by an affine map:**
$\;y = \gamma \cdot \dfrac{x - \text{center}}{\text{scale}} + \beta$

Standardization takes the mean and the standard deviation; min-max normalization the minimum and the range; batch
normalization the mean and the standard deviation of a mini-batch, and it *learns* γ and β. Seven chapters show
what follows from that. Nothing here is a drawing: this machine computes every number when you move a slider.
""",
        r"""
# 눈으로 보는 정규화

**모든 정규화는 통계량을 구한 뒤 아핀 변환을 하는 것입니다:**
$\;y = \gamma \cdot \dfrac{x - \text{center}}{\text{scale}} + \beta$

표준화는 평균과 표준편차를, 최소-최대 정규화는 최솟값과 범위를, 배치 정규화는 미니배치의 평균과 표준편차를 쓰며, 배치
정규화는 감마(γ)와 베타(β)를 *학습*합니다. 여기에서 무엇이 따라 나오는지를 일곱 장에 걸쳐 보여 줍니다. 미리 그려 둔
그림은 없습니다. 슬라이더를 움직이면 이 컴퓨터가 모든 숫자를 계산합니다.
""",
    ),
    "chapter 1": Text(
        """
## 1. Two ways to rescale

**Standardization and min-max normalization change the axis, not the shape.** Skewness and kurtosis, which describe
the shape, stay equal to the last digits. Add an outlier: one value now sets min-max's range and squeezes all others
into a corner of it; a standard deviation, to which all values add, is moved less.
""",
        """
## 1. 스케일을 조정하는 두 가지 방법

**표준화와 최소-최대 정규화는 축을 바꿀 뿐 모양을 바꾸지 않습니다.** 모양을 나타내는 왜도와 첨도는 마지막 자리까지
같습니다. 이상치를 하나 넣어 보세요. 최소-최대 정규화에서는 그 값 하나가 범위를 정해 버려서 나머지가 모두 한구석으로
몰립니다. 모든 값이 함께 기여하는 표준편차는 그보다 덜 움직입니다.
""",
    ),
    "skewed": Text("cell area of 569 patients: skewed", "환자 569명의 세포 면적: 한쪽으로 치우침"),
    "two humps": Text("petal length of 150 irises: two humps", "붓꽃 150송이의 꽃잎 길이: 봉우리 두 개"),
    "nearly even": Text("alcohol of 178 wines: nearly even", "와인 178종의 알코올 도수: 거의 고름"),
    "skewed, unit": Text("cell area, pixels", "세포 면적, 픽셀"),
    "two humps, unit": Text("petal length, cm", "꽃잎 길이, cm"),
    "nearly even, unit": Text("alcohol, % by volume", "알코올, 부피 %"),
    "own file": Text("or a file of yours: .csv, .parquet, …", "또는 내 파일: .csv, .parquet, …"),
    "outlier": Text("outlier, in standard deviations", "이상치, 표준편차 단위"),
    "column": Text("column", "열"),
    "its column": Text("its column", "파일의 열"),
    "raw": Text("raw", "원래 값"),
    "standardized": Text("standardized", "표준화"),
    "min-max": Text("min-max", "최소-최대 정규화"),
    "standardized, unit": Text("(x − mean) / std, no unit", "(x − 평균) / 표준편차, 단위 없음"),
    "min-max, unit": Text("(x − min) / (max − min), no unit", "(x − 최솟값) / (최댓값 − 최솟값), 단위 없음"),
    "mean": Text("mean", "평균"),
    "std": Text("std", "표준편차"),
    "min": Text("min", "최솟값"),
    "max": Text("max", "최댓값"),
    "skewness": Text("skewness", "왜도"),
    "kurtosis": Text("excess kurtosis", "초과 첨도"),
    "used": Text(
        "part of min-max's range that the column itself takes, without the outlier",
        "이상치를 뺀 열 자체가 최소-최대 정규화의 범위에서 차지하는 부분",
    ),
    "kept": Text(
        "std of the column itself, standardized with the outlier", "이상치와 함께 표준화했을 때 열 자체의 표준편차"
    ),
    "how many": Text("how many", "개수"),
    "chapter 2": Text(
        """
## 2. The shape does not change

**Plot the quantiles of the mapped column against those of the column itself: for an affine map they lie on a
straight line.** Two affine maps, one after the other, are one affine map again, so the line stays straight.
Something that is not affine between the two bends it.
""",
        """
## 2. 모양은 변하지 않는다

**변환한 열의 분위수를 원래 열의 분위수에 대해 그려 보면, 아핀 변환일 때에는 한 직선 위에 놓입니다.** 아핀 변환 두
개를 이어서 하면 다시 하나의 아핀 변환이 되므로 직선은 그대로 직선입니다. 둘 사이에 아핀이 아닌 것을 넣으면
휘어집니다.
""",
    ),
    "first map: times": Text("first map: times", "첫 번째 변환: 곱하기"),
    "second map: times": Text("second map: times", "두 번째 변환: 곱하기"),
    "plus": Text("plus", "더하기"),
    "between": Text("between the two", "둘 사이에"),
    "nothing": Text("nothing", "없음"),
    "after the first map": Text("after the first map", "첫 번째 변환 뒤"),
    "after both": Text("after both", "두 변환 뒤"),
    "quantiles before": Text("quantiles of the standardized column, no unit", "표준화한 열의 분위수, 단위 없음"),
    "quantiles after": Text("quantiles after the maps, no unit", "변환한 뒤의 분위수, 단위 없음"),
    "straight": Text("R² of the best straight line, after both", "두 변환 뒤, 가장 가까운 직선의 R²"),
    "one map": Text("first.then(second), as one map", "first.then(second), 하나의 변환으로"),
    "apart": Text("largest difference between the one map and the picture", "하나의 변환과 그림의 최대 차이"),
    "chapter 3": Text(
        """
## 3. What normalizing takes away

**Standardized values sit in the middle of sigmoid and tanh, where these are almost straight.** R² says how near to
a straight line the part in use is: 1 is a line. And layers without an activation collapse: any number of affine maps is
one affine map, however deep the stack. With an activation after each layer the stack is no line, but its outputs come
ever closer together: the picture on the right is standardized, so look at the *spread* below it. Three layers of
sigmoids and twenty look alike, and twenty leave next to nothing of the differences between inputs.
""",
        """
## 3. 정규화가 앗아 가는 것

**표준화한 값은 시그모이드와 tanh의 한가운데, 거의 직선인 구간에 놓입니다.** R²는 사용되는 구간이 얼마나 직선에
가까운지를 나타냅니다. 1이면 직선입니다. 그리고 활성화 함수가 없는 층은 합쳐집니다. 아무리 깊이 쌓아도 아핀 변환 여러
개는 하나의 아핀 변환입니다. 층마다 활성화 함수를 넣으면 직선은 아니지만, 출력들이 점점 서로 가까워집니다. 오른쪽
그림은 표준화해서 그린 것이므로 그 아래의 *퍼진 정도*를 보세요. 시그모이드 층 세 개와 스무 개는 모양이 비슷하지만,
스무 개를 지나면 입력 사이의 차이가 거의 남지 않습니다.
""",
    ),
    "activation": Text("activation", "활성화 함수"),
    "sigmoid": Text("sigmoid", "시그모이드"),
    "tanh": Text("tanh", "tanh"),
    "relu": Text("relu", "ReLU"),
    "exp": Text("exp", "exp"),
    "layers in the stack": Text("layers in the stack", "쌓은 층의 수"),
    "the curve": Text("the curve", "곡선"),
    "the part in use": Text("the part in use", "사용되는 구간"),
    "its best straight line": Text("its best straight line", "가장 가까운 직선"),
    "activation's input": Text("input of the activation, no unit", "활성화 함수의 입력, 단위 없음"),
    "activation of input": Text("{bend}(input)", "{bend}(입력)"),
    "without activation": Text("without activation", "활성화 함수 없이"),
    "with activation": Text("with {bend} after each", "층마다 {bend}"),
    "stack's input": Text("input of the stack, no unit", "쌓은 층의 입력, 단위 없음"),
    "stack's output": Text("its output, standardized", "출력(표준화함)"),
    "r2 of activation": Text(
        "R² of the best line through the part of {bend} in use", "{bend}에서 사용되는 구간에 가장 가까운 직선의 R²"
    ),
    "layers as one map": Text(
        "{n} layers without activation, as one map", "활성화 함수 없는 층 {n}개를 하나의 변환으로"
    ),
    "layer by layer": Text(
        "largest difference from going layer by layer, of the largest output",
        "층을 하나씩 지났을 때와의 최대 차이(최대 출력에 대한 비율)",
    ),
    "spread without": Text(
        "spread (std) of the stack's output, without activation", "활성화 함수 없이, 출력이 퍼진 정도(표준편차)"
    ),
    "spread with": Text(
        "spread (std) of the stack's output, with {bend} after each", "층마다 {bend}, 출력이 퍼진 정도(표준편차)"
    ),
    "chapter 4": Text(
        """
## 4. What γ and β give back

**After standardizing, γ stretches the values and β moves them: into the curved part of the activation, as far as the
network wants.** With γ = 1 and β = 0 it is standardization: without ε the difference is 0, not just small. With
ε, as in batch normalization, that holds where the variance is much larger than ε.
Watch R² fall as the part in use moves to where the activation is curved.
""",
        """
## 4. 감마와 베타가 되돌려 주는 것

**표준화한 뒤에 감마(γ)는 값을 넓히고 베타(β)는 값을 옮깁니다. 신경망이 원하는 만큼, 활성화 함수가 휘어 있는 구간으로
옮깁니다.** γ = 1, β = 0이면 표준화입니다. ε이 없으면 차이는 작은 것이 아니라 아예 0입니다. 배치 정규화처럼 ε이
있으면, 분산이 ε보다 훨씬 클 때 그렇습니다. 사용되는 구간이 휘어 있는 곳으로 옮겨 가면 R²가 줄어드는 것을 보세요.
""",
    ),
    "gamma is 0": Text(
        "γ = 0: every value is β, and nothing of the column is left.",
        "γ = 0: 모든 값이 β이고, 열에서 남은 것이 없습니다.",
    ),
    "plain standardization": Text("plain standardization", "표준화만"),
    "output of activation": Text("output of {bend}, no unit", "{bend}의 출력, 단위 없음"),
    "r2 of part": Text("R² of the best line through the part in use", "사용되는 구간에 가장 가까운 직선의 R²"),
    "difference": Text("largest difference from plain standardization", "표준화와의 최대 차이"),
    "epsilon": Text(
        "largest difference from gb.batch_norm, which adds ε = 1e−5 to the variance",
        "분산에 ε = 1e−5를 더하는 gb.batch_norm과의 최대 차이",
    ),
    "chapter 5": Text(
        r"""
## 5. The mini-batch

**In training, mean and variance are those of a mini-batch, and so they jitter: as $1/\sqrt{n}$ where $n$ is its
size.** Four times as many pictures halve the jitter. For evaluation the layer keeps running statistics, which
follow slowly; that is why the same pictures give slightly different outputs in training and in evaluation.
*Per position* takes a statistic for every pixel (the note's `axis=0`), *per channel* one for all pixels together.
""",
        r"""
## 5. 미니배치

**학습할 때 쓰는 평균과 분산은 미니배치의 것이므로 흔들립니다. 미니배치의 크기가 $n$이면 $1/\sqrt{n}$에 비례합니다.**
이미지를 네 배로 늘리면 흔들림은 절반이 됩니다. 추론을 위해 층은 천천히 따라가는 이동 통계량을 보관합니다. 그래서 같은
이미지라도 학습할 때와 추론할 때의 출력이 조금 다릅니다. *위치마다*는 픽셀마다 통계량을 하나씩 구하고(노트의
`axis=0`), *채널마다*는 모든 픽셀을 합쳐 하나만 구합니다.
""",
    ),
    "batch size": Text("pictures in a mini-batch", "미니배치의 이미지 수"),
    "decay": Text("decay of the running mean", "이동 평균의 감쇠율"),
    "per position": Text("per position (one pixel of each digit)", "위치마다(각 숫자의 픽셀 하나)"),
    "per channel": Text("per channel (all 64 pixels)", "채널마다(픽셀 64개 모두)"),
    "statistic": Text("statistic", "통계량"),
    "mean ink": Text("mean ink, from 0 to 16", "평균 농도, 0부터 16까지"),
    "mini-batch number": Text("mini-batch number", "미니배치 번호"),
    "of the mini-batch": Text("of the mini-batch", "미니배치"),
    "running": Text("running", "이동 평균"),
    "of all pictures": Text("of all pictures", "전체 이미지"),
    "mean, measured": Text("mean, measured", "평균, 측정값"),
    "variance, measured": Text("variance, measured", "분산, 측정값"),
    "std of batches": Text("std from batch to batch, ink", "배치 사이의 표준편차, 농도"),
    "jitter": Text("jitter of the mean, measured on 200 mini-batches", "미니배치 200개에서 측정한, 평균이 흔들리는 폭"),
    "law": Text("what 1/√n says (the lines)", "1/√n 법칙의 값(그림의 선)"),
    "last batch": Text("the last mini-batch, normalized: mean and std", "정규화한 마지막 미니배치의 평균과 표준편차"),
    "and": Text("{a} and {b}", "평균 {a}, 표준편차 {b}"),
    "gap": Text("largest difference of y between training and evaluation", "학습할 때와 추론할 때 y의 최대 차이"),
    "chapter 6": Text(
        """
## 6. Learning γ and β

**γ and β are weights: backpropagation moves them.** Three networks learn to read digits side by side: without a
norm, with batch norm, and with batch norm whose γ and β stay 1 and 0. Without a norm a deep stack of sigmoids does
not even start; on a task as small as this, frozen γ and β do nearly as well as learned ones, but for the loss.
""",
        """
## 6. 감마와 베타의 학습

**감마와 베타는 가중치입니다. 역전파가 이들을 움직입니다.** 신경망 세 개가 나란히 숫자 읽기를 학습합니다. 정규화가
없는 것, 배치 정규화가 있는 것, 배치 정규화가 있지만 감마와 베타를 1과 0으로 고정한 것입니다. 정규화가 없으면 깊게
쌓은 시그모이드는 학습을 시작하지도 못합니다. 이렇게 작은 문제에서는 손실을 빼면, 고정한 감마와 베타도 학습한 것과
거의 비슷합니다.
""",
    ),
    "layers": Text("layers", "층의 수"),
    "learning rate": Text("learning rate", "학습률"),
    "steps": Text("steps of 60 pictures", "스텝 수(이미지 60개씩)"),
    "train": Text("Train, from the start", "처음부터 학습하기"),
    "stop": Text("Stop", "멈추기"),
    "press train": Text("*Press “Train, from the start”.*", "*“처음부터 학습하기”를 누르세요.*"),
    "being made": Text("*The networks are being made …*", "*신경망을 만들고 있습니다 …*"),
    "training": Text("training", "학습 중"),
    "stopped": Text("stopped", "멈춤"),
    "done": Text("done", "끝남"),
    "progress": Text("{state}: step {done} of {steps}", "{state}: {steps}스텝 가운데 {done}"),
    "none": Text("none", "없음"),
    "batch norm": Text("batch norm", "배치 정규화"),
    "γ = 1, β = 0": Text("γ = 1, β = 0", "γ = 1, β = 0"),
    "held out": Text("held out, {way}", "테스트 정확도, {way}"),
    "step": Text("step", "스텝"),
    "loss": Text("loss on the mini-batches", "미니배치의 손실"),
    "loss, unit": Text("cross-entropy, nats", "교차 엔트로피, 나트"),
    "accuracy": Text("accuracy on held-out pictures", "테스트 이미지의 정확도"),
    "accuracy, unit": Text("share that is right", "맞힌 비율"),
    "distance": Text("root mean square distance", "거리의 제곱평균제곱근"),
    "layer": Text("layer", "층"),
    "gamma moves": Text("γ moves away from 1", "γ가 1에서 멀어진다"),
    "beta moves": Text("β moves away from 0", "β가 0에서 멀어진다"),
    "share": Text("share of a layer's activations", "층의 활성값 가운데 비율"),
    "bands": Text("in each band {bend} from 0 to {top}", "띠마다 {bend}, 0부터 {top}까지"),
    "activations": Text("activations: {way}", "활성값: {way}"),
    "chapter 7": Text(
        """
## 7. The same numbers?

**The same formula, the same column of 1,024 float32 numbers, and the frameworks do not agree.** Some compute the
variance as mean(x²) − mean(x)², where two large numbers that are nearly equal cancel: a column like a year or an
altitude loses its digits, or all of them. gammabeta subtracts the mean first, in every framework. The error is
measured against the exact mean and variance.
""",
        """
## 7. 같은 숫자가 나오는가?

**같은 식과 같은 float32 숫자 1,024개를 주어도 프레임워크마다 결과가 다릅니다.** 분산을 평균(x²) − 평균(x)²으로
계산하는 곳이 있는데, 거의 같은 두 큰 수를 빼면 자릿수가 사라집니다. 연도나 고도 같은 열은 자릿수를 일부, 또는 전부
잃습니다. gammabeta는 어느 프레임워크에서나 평균을 먼저 뺍니다. 오차는 정확한 평균과 분산을 기준으로 잰 것입니다.
""",
    ),
    "mean of the column": Text("mean of the column", "열의 평균"),
    "its standard deviation": Text("its standard deviation", "열의 표준편차"),
    "load": Text("Load the installed frameworks", "설치된 프레임워크 불러오기"),
    "loading": Text(
        "The frameworks are loading, each in a process of its own …",
        "프레임워크를 각각 별도의 프로세스에서 불러오고 있습니다 …",
    ),
    "not installed": Text("not installed: {names}", "설치되지 않음: {names}"),
    "no answer": Text("did not answer", "응답하지 않음"),
    "not loaded": Text("not loaded yet", "아직 불러오지 않음"),
    "loaded": Text(
        "layers that can run here (loading them takes up to half a minute)",
        "여기서 실행할 수 있는 층(불러오는 데 최대 30초쯤 걸립니다)",
    ),
    "of": Text("{a} of {b}", "{b}개 가운데 {a}개"),
    "largest error": Text("largest error of y (its std is 1)", "y의 최대 오차(y의 표준편차는 1)"),
    "another's layer": Text("another's layer", "다른 라이브러리의 층"),
}
"""By key, in the order of the page."""
