"""The help page: what the words on the pages mean."""

from __future__ import annotations

HELP: tuple[tuple[str, tuple[str, str], tuple[str, str]], ...] = (
    (
        "partial",
        ("产品部分碳足迹", "partial carbon footprint"),
        (
            (
                "只包含产品生命周期中的一部分，这里是从工厂进门到出门（大门到大门）。原材料的生产、"
                "运输、使用和废弃不在内，因此不能与完整的产品碳足迹比较。"
            ),
            (
                "Covers only a part of a product's life cycle, here from the factory's entrance to "
                "its exit (gate to gate). Making the raw materials, transport, use and disposal "
                "are not in it, so it cannot be compared with a whole carbon footprint of a "
                "product."
            ),
        ),
    ),
    (
        "uncertainty",
        ("± U（k = 2）", "± U (k = 2)"),
        (
            (
                "扩展不确定度。包含因子 k = 2 表示：按已知的仪表、证书和排放因子，真值约有 95 % "
                "的可能落在数值 ± U 的区间内。U 最多保留两位有效数字，数值修约到同一位。"
            ),
            (
                "Expanded uncertainty. With the coverage factor k = 2 the true value lies within "
                "the value ± U with a probability of about 95 %, as far as instruments, "
                "certificates and factors tell. U has two significant digits; the value ends at "
                "the same place."
            ),
        ),
    ),
    (
        "provisional",
        ("暂定", "provisional"),
        (
            "批次还没结束，或者还在等待数据，数值仍会变化。批次页说明在等待什么。",
            (
                "The batch is still open, or data is still awaited; the figure may change. The "
                "page of the batch says what it waits for."
            ),
        ),
    ),
    (
        "final",
        ("终定", "final"),
        (
            (
                "所需的数据信封已全部到齐，每条链都完整地越过了批次结束时刻。数值不再等待任何数据；"
                "如有更正，会成为新的修订版，旧版仍可查看。"
            ),
            (
                "Every envelope it needs is here, each chain runs whole past the end of the batch. "
                "It waits for nothing; a correction becomes a new revision and the old one stays."
            ),
        ),
    ),
    (
        "final_estimated",
        ("终定（含估算）", "final (estimated)"),
        (
            (
                "部分数据已声明不会再到，或者数据流在批次开始之后才开始。缺失部分按规则补足，批次"
                "页写明是哪个计量器具。"
            ),
            (
                "Some data is stated never to come, or a stream began only after the batch did. "
                "What is missing was filled in by the stated rule; the page of the batch names the "
                "meter."
            ),
        ),
    ),
    (
        "closed",
        ("已关闭", "closed"),
        (
            (
                "至少一个数据流没有数据信封链（例如从表格导入），因此没有任何待到的数据，但也无法"
                "证明数据完整。"
            ),
            (
                "At least one stream comes without a chain of envelopes (a table that was "
                "imported, say): nothing is awaited, but that the data is whole cannot be proven."
            ),
        ),
    ),
    (
        "direct",
        ("直接", "direct"),
        (
            "批次进行期间由本产线的计量器具测得的量，或者为该批次称量的量。",
            (
                "What the line's own instruments counted while the batch ran, or what was weighed "
                "for it."
            ),
        ),
    ),
    (
        "shared",
        ("公用分摊", "share of common"),
        (
            "多条产线共用的设备（如空压机、照明）的量，在每个分摊时段内按规定的依据分给各批次。",
            (
                "What equipment uses that several lines share (compressor, lighting), divided "
                "among the batches of each sharing window by the stated key."
            ),
        ),
    ),
    (
        "idle",
        ("待机", "idle"),
        (
            "产线上没有批次时用掉的量。它不会消失，而是分摊给同一时段的批次。",
            (
                "What a line uses while no batch runs on it. It does not vanish: it is shared "
                "among the batches of the same window."
            ),
        ),
    ),
    (
        "changeover",
        ("换产", "changeover"),
        (
            "两个不同产品的批次之间、间隔不超过规定时长的量，归后一个批次。",
            (
                "What is used between two batches of different products that lie no further apart "
                "than the stated time. It belongs to the batch that follows."
            ),
        ),
    ),
    (
        "unattributed",
        ("未归属", "unattributed"),
        (
            "多个批次同时声称占用的时间里用掉的量，无法确定属于谁，因此分摊给同一时段的批次。",
            (
                "What is used in time that more than one batch claims. Whose it is cannot be "
                "known, so it is shared among the batches of the same window."
            ),
        ),
    ),
    (
        "incomplete",
        ("不完整", "incomplete"),
        (
            "边界内有排放源没有数据或没有排放因子。数值偏低，批次页写明缺少哪一个。",
            (
                "A source inside the boundary has no data or no factor. The figure is too low; the "
                "page of the batch names the source."
            ),
        ),
    ),
    (
        "stale",
        ("数据已过时", "stale"),
        (
            "最新读数已超过 15 秒，或者页面与站点失去联系。数值变淡，并显示数据的年龄。",
            (
                "The newest reading is older than 15 s, or the page has lost the site. The figure "
                "is dimmed and the age of the data is shown."
            ),
        ),
    ),
    (
        "tier",
        ("可信等级", "assurance tier"),
        (
            "A：由计量器具自身签名；B：由边缘采集端签名；C：来源经认证但未签名；D：由外部数据映射。",
            (
                "A: signed by the instrument itself; B: signed by the edge agent; C: the sender is "
                "authenticated, the data unsigned; D: mapped from foreign data."
            ),
        ),
    ),
    (
        "evidence",
        ("证据包", "evidence bundle"),
        (
            (
                "一个文件，包含重新计算一个批次所需的一切：已签名的读数、事实记录、账本证明和检查"
                "点。核查人员可在自己的电脑上离线验签并重算，只需信任站点的根公钥。"
            ),
            (
                "One file with all that is needed to compute a batch again: signed readings, "
                "facts, proofs from the journal and a checkpoint. A verifier checks and recomputes "
                "it offline on a computer of his own; all he has to trust is the site's root key."
            ),
        ),
    ),
)
"""(anchor, term, meaning), each in (zh, en)."""
