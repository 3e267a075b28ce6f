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
    "so_far": ("截至目前", "so far"),
    "no_output": ("尚无良品产出", "no good output yet"),
    "trend": ("近期批次", "recent batches"),
    "trend_later": ("完成两个批次后显示趋势", "a trend shows once two batches have ended"),
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
    "help": ("名词说明", "What the words mean"),
    "zone": ("时区", "time zone"),
    "time": ("时间", "time"),
    "value": ("数值", "value"),
    "meaning": ("含义", "what it is"),
    "valid_span": ("适用期", "valid"),
    "published": ("来源", "source"),
    "why_chosen": ("选用理由", "why this one"),
    "policy_default": ("策略默认", "policy default"),
    "factors_used": ("所用排放因子", "Emission factors used"),
    "certificates_used": ("所用证书", "Certificates used"),
    "cert_kind_verification": ("检定", "verification"),
    "cert_kind_calibration": ("校准", "calibration"),
    "laboratory": ("机构", "laboratory"),
    "approved": ("已批准", "approved"),
    "and_more": (
        "另有 {count} 个分量，合计占 {share} %",
        "and {count} more, {share} % of the variance together",
    ),
    "evidence_link": (
        "签名信封、账本位置与证据包",
        "signed envelopes, their place in the journal, and the evidence bundle",
    ),
    "answer_evidence": (
        "此数值由 {streams} 条数据流的 {envelopes} 个签名信封算出。",
        "This figure was computed from {envelopes} signed envelopes of {streams} streams.",
    ),
    "checkpoint": ("检查点", "checkpoint"),
    "root": ("账本根哈希", "root of the journal"),
    "verify_yourself": ("自行验证", "Check it yourself"),
    "verify_how": (
        (
            "下载证据包，离线运行下面的命令。KEY 是工厂的根公钥，由 meterprint keys show 给出，"
            "请经可信途径取得。"
        ),
        (
            "Download the evidence bundle and run this command, offline. KEY is the root key of "
            "the site, which meterprint keys show prints; get it by a way you trust."
        ),
    ),
    "download_bundle": ("下载证据包", "evidence bundle"),
    "epoch": ("运行期", "epoch"),
    "number": ("序号", "number"),
    "journal_index": ("账本序号", "journal index"),
    "identity": ("信封哈希值", "identity"),
    "not_found": ("没有这个页面或批次", "there is no such page or batch"),
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
