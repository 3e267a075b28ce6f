"""What the words of the pages mean, for the help page; the glossary is their source."""

from __future__ import annotations

WORDS: tuple[tuple[str, str, str, str], ...] = (
    (
        "产品部分碳足迹", "partial carbon footprint",
        "只含工厂大门之内的排放，不是产品全生命周期的碳足迹。",
        "Covers what happens inside the plant's gates, not the product's whole life cycle.",
    ),
    (
        "± U（k = 2）", "± U (k = 2)",
        "扩展不确定度：真值约有 95 % 的可能落在此范围内。",
        "Expanded uncertainty: the true value lies inside with a probability of about 95 %.",
    ),
    (
        "暂定", "provisional",
        "还在等待数据，“等待”一栏写明等什么；数值仍会变化。",
        "Still waits for data, and says for what; the figure can still change.",
    ),
    (
        "终定", "final",
        "边界内每个排放源的数据都已证明完整。迟到的数据会形成新的修订版，旧版保留。",
        ("Every source inside the boundary is proven complete. Late data makes a new revision; "
        "the old one stays."),
    ),
    (
        "终定（含估算）", "final (estimated)",
        "有一段数据已确认不会再来，该段按策略处理。",
        "Some data is known never to come; policy says what stands in its place.",
    ),
    (
        "已关闭", "closed",
        "数据来自没有签名链的来源（例如导入的文件），完整性无法证明。",
        ("The data came without a signed chain (a file that was imported, say), so its "
        "completeness cannot be proven."),
    ),
    (
        "待机分摊", "idle share",
        "没有批次时产线的用能，按良品产出分摊给同一时段的批次。",
        ("What the line used while no batch ran, shared by good output among the batches of "
        "that time."),
    ),
    (
        "换产", "changeover",
        "两个不同产品的批次之间的用能，归后一个批次。",
        "What was used between batches of different products; the batch that follows bears it.",
    ),
    (
        "未归属分摊", "unattributed share",
        "两个批次同时占用的时间，用能按良品产出分摊。",
        "Time that two batches claim at once; it is shared by good output.",
    ),
    (
        "公用分摊", "share of common",
        "几条产线共用的设备（例如空压机）的用能，按良品产出分摊。",
        "What equipment that several lines use (a compressor, say) took, shared by good output.",
    ),
    (
        "数据已过时", "stale",
        "最近一段时间没有新读数：请看“计量器具”页上采集端是否离线。",
        "No new readings for a while: see on the Meters page whether an agent is offline.",
    ),
    (
        "可信等级", "assurance tier",
        "A 由仪表自身签名；B 由本系统采集端签名；C 经认证但未签名；D 导入的数据。",
        ("A signed by the meter itself; B signed by our agent; C authenticated but unsigned; "
        "D imported data."),
    ),
)  # fmt: skip
"""Words the pages use: (zh, en, meaning zh, meaning en)."""


def words(language: str) -> list[tuple[str, str]]:
    """(word, meaning) of the help page."""
    zh = language == "zh"
    return [(w[0], w[2]) if zh else (w[1], w[3]) for w in WORDS]
