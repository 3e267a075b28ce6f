"""Texts of the pages in Chinese and English; both have the same keys."""

from __future__ import annotations

LANGUAGES = ("zh", "en")
"""Languages of the pages; the first is the default."""

TEXTS: dict[str, tuple[str, str]] = {
    "title": ("Meterprint", "Meterprint"),
    "nav_now": ("现在", "Now"),
    "nav_batches": ("批次", "Batches"),
    "nav_meters": ("计量器具", "Meters"),
    "nav_api": ("接口", "API"),
    "lang_other": ("English", "中文"),
    "partial": ("产品部分碳足迹（大门到大门）", "partial carbon footprint (gate to gate)"),
    "footprint": ("产品碳足迹", "carbon footprint"),
    "per_unit": ("单位产品碳足迹", "footprint per unit"),
    "energy_per_unit": ("单耗", "energy per unit"),
    "target": ("目标值", "target"),
    "no_batch": ("当前没有批次", "no batch yet"),
    "running": ("进行中", "running"),
    "last_batch": ("最近批次", "last batch"),
    "so_far": ("截至目前", "so far"),
    "no_output": ("尚无良品产出", "no good output yet"),
    "trend": ("近期批次", "recent batches"),
    "age": ("数据时间", "data age"),
    "seconds_ago": ("秒前", "s ago"),
    "stale": ("数据已过时", "stale"),
    "never": ("尚无数据", "no data yet"),
    "start_batch": ("开始批次", "Start a batch"),
    "end_batch": ("结束批次", "End the batch"),
    "batch": ("批次", "batch"),
    "product": ("产品", "product"),
    "line": ("产线", "line"),
    "good": ("良品数", "good units"),
    "scrap": ("报废数", "scrap"),
    "state": ("状态", "state"),
    "state_provisional": ("暂定", "provisional"),
    "state_final": ("终定", "final"),
    "state_final_estimated": ("终定（含估算）", "final (estimated)"),
    "state_closed": ("已关闭", "closed"),
    "waits": ("等待", "waits for"),
    "incomplete": ("不完整", "incomplete"),
    "incomplete_text": (
        "边界内有排放源没有数据或因子，数值偏低",
        "a source inside the boundary has no data or no factor: the figure is too low",
    ),
    "start": ("开始", "start"),
    "end": ("结束", "end"),
    "quantity": ("良品数", "good units"),
    "burden": ("排放量", "emissions"),
    "where_from": ("碳从哪里来", "Where the carbon came from"),
    "source": ("排放源", "emission source"),
    "instrument": ("计量器具", "instrument"),
    "metered": ("表计值", "metered"),
    "corrected": ("修正后", "corrected"),
    "parts": ("构成", "made up of"),
    "part_direct": ("直接", "direct"),
    "part_tagged": ("称量", "weighed"),
    "part_changeover": ("换产", "changeover"),
    "part_idle": ("待机分摊", "idle share"),
    "part_unattributed": ("未归属分摊", "unattributed share"),
    "part_shared": ("公用分摊", "share of common"),
    "factor": ("排放因子", "emission factor"),
    "reason_by_id": ("按编号指定", "named by id"),
    "reason_valid": ("在有效期内", "valid then"),
    "reason_carried_forward": ("沿用最近公布值", "carried forward"),
    "default_u": ("因子不确定度为策略默认值", "uncertainty of the factor is a policy default"),
    "tier": ("可信等级", "assurance tier"),
    "certificate": ("证书", "certificate"),
    "cert_valid": ("有效", "valid"),
    "cert_unapproved": ("未批准", "not approved"),
    "cert_expired": ("超期", "expired"),
    "cert_not_yet_valid": ("尚未生效", "not yet valid"),
    "cert_revoked": ("已撤销", "revoked"),
    "cert_missing": ("无证书", "no certificate"),
    "due": ("有效期至", "due"),
    "budget": ("不确定度分量表", "Uncertainty budget"),
    "component": ("分量", "component"),
    "share": ("占比", "share"),
    "findings": ("数据异常", "Findings"),
    "no_findings": ("没有", "none"),
    "revisions": ("修订版", "Revisions"),
    "evidence": ("证据", "Evidence"),
    "digest": ("结果哈希值", "digest of the result"),
    "journal": ("账本", "journal"),
    "entries": ("条目", "entries"),
    "last_reading": ("最近读数", "last reading"),
    "serial": ("编号", "serial"),
    "kind": ("类别", "kind"),
    "kind_electricity_meter": ("电能表", "electricity meter"),
    "kind_gas_meter": ("燃气表", "gas meter"),
    "kind_weigher": ("衡器", "weigher"),
    "kind_thermometer": ("温度计", "thermometer"),
    "agents": ("边缘采集端", "Edge agents"),
    "online": ("在线", "online"),
    "offline": ("离线", "offline"),
    "depth": ("待发", "outbox"),
    "envelopes": ("信封", "envelopes"),
    "quarantined": ("隔离", "quarantined"),
    "download_csv": ("下载 CSV", "CSV"),
    "download_json": ("查看 JSON", "JSON"),
    "answer_batch": (
        "批次 {batch} 每件 {figure}，其中最多的一份来自{top}。",
        "Batch {batch} caused {figure} per unit; the largest part came from {top}.",
    ),
    "answer_meters": (
        "{total} 台计量器具中，{bad} 台的证书不支持当前读数。",
        "{bad} of {total} instruments have no certificate that supports their readings now.",
    ),
    "answer_batches": (
        "共 {total} 个批次，{open} 个暂定。",
        "{total} batches, {open} provisional.",
    ),
    "accepted": ("已记录", "recorded"),
    "not_found": ("没有这个页面或批次", "there is no such page or batch"),
    "submit": ("提交", "Submit"),
}


def text(key: str, language: str, **values: object) -> str:
    """The text of a key. Raises KeyError for a key nobody wrote."""
    chosen = TEXTS[key][LANGUAGES.index(language)]
    return chosen.format(**values) if values else chosen


def kind(name: str, language: str) -> str:
    """Kind of an instrument in words; one nobody translated stands as it is."""
    key = f"kind_{name}"
    return text(key, language) if key in TEXTS else name.replace("_", " ")


def choose_language(asked: str | None, cookie: str | None, header: str | None) -> str:
    """Language of a request: what was asked, what was chosen before, what the browser prefers."""
    for wanted in (asked, cookie):
        if wanted in LANGUAGES:
            return wanted
    first = (header or "").split(",")[0].strip().lower()
    return "en" if first and not first.startswith("zh") else "zh"
