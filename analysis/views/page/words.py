"""The page's own words, in each language: nothing else in page/ holds a word that a reader sees.

What is said *about a capture* (reasons, notes, facts) comes from phrases.py and states.py, and is English.
Names of states, events, control bits and verdicts are those of RFC 9293 and of this program in every language.
A row below has its text in each of LANGUAGES, in that order.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

from markupsafe import Markup

from ...model import Verdict
from ...states import Event
from .. import LANGUAGES

#: What an opening was, as a headline: of the two ends.
HEADLINES = {
    Verdict.SELF_CONNECT: ("{0} connected to itself", "{0} 连上了它自己"),
    Verdict.SELF_SYN: ("{0} sent a SYN to itself", "{0} 给自己发了一个 SYN"),
    Verdict.SIMULTANEOUS_OPEN: ("{0} and {1} opened at the same time", "{0} 与 {1} 同时打开"),
    Verdict.ONE_SIDED_CROSSING: (
        "The SYNs of {0} and {1} crossed, and one of them answered",
        "{0} 与 {1} 的 SYN 交错而过，只有一方应答",
    ),
    Verdict.SPLIT_HANDSHAKE: ("{1} split its answer to {0}", "{1} 把给 {0} 的应答拆成了两半"),
    Verdict.CROSSED_UNANSWERED: (
        "The SYNs of {0} and {1} crossed, without a SYN-ACK",
        "{0} 与 {1} 的 SYN 交错而过，没有 SYN-ACK",
    ),
    Verdict.THREE_WAY: ("{0} connected to {1}", "{0} 连上了 {1}"),
    Verdict.HALF_OPEN: (
        "{0} did not complete its connection to {1} in this capture",
        "在这份抓包里，{0} 到 {1} 的连接没有完成",
    ),
    Verdict.REFUSED: ("{1} refused {0}", "{1} 拒绝了 {0}"),
    Verdict.ABORTED: ("{0} gave up its connection to {1}", "{0} 放弃了到 {1} 的连接"),
    Verdict.UNANSWERED: ("No answer from {1} to {0} was captured", "没有抓到 {1} 对 {0} 的应答"),
    Verdict.ODD: ("{0} had an odd answer from {1}", "{0} 从 {1} 得到了异常的应答"),
}

#: Why an opening is called so, in a line: analysis/verdicts.py has the rules that decide it.
WHY = {
    Verdict.SELF_CONNECT: (
        "Its own SYN came back: simultaneous open, of one socket with itself.",
        "自己的 SYN 回到了自己这里：这是同时打开，只不过双方是同一个套接字。",
    ),
    Verdict.SELF_SYN: (
        "Both ends are equal, but nothing acknowledged the SYN.",
        "两端相同，但是没有任何报文段确认这个 SYN。",
    ),
    Verdict.SIMULTANEOUS_OPEN: (
        "Their SYNs crossed, and each end answered with a SYN-ACK.",
        "双方的 SYN 在途中交错，双方各回了一个 SYN-ACK。",
    ),
    Verdict.ONE_SIDED_CROSSING: (
        "Their SYNs crossed, but only one end sent a SYN-ACK.",
        "双方的 SYN 在途中交错，但是只有一端回了 SYN-ACK。",
    ),
    Verdict.SPLIT_HANDSHAKE: (
        "The answer came in two pieces: an ACK, and then a SYN.",
        "应答分两次到来：先是 ACK，然后才是 SYN。",
    ),
    Verdict.CROSSED_UNANSWERED: (
        "Their SYNs crossed, and neither end sent a SYN-ACK.",
        "双方的 SYN 在途中交错，哪一端都没有回 SYN-ACK。",
    ),
    Verdict.THREE_WAY: (
        "SYN, SYN-ACK, ACK: one end called, and a listening end answered.",
        "SYN、SYN-ACK、ACK：一端发起，监听的另一端应答。",
    ),
    Verdict.HALF_OPEN: (
        "SYN and SYN-ACK, but no ACK that fits was captured.",
        "有 SYN 和 SYN-ACK，但是没有抓到与之相符的 ACK。",
    ),
    Verdict.REFUSED: (
        "The SYN was refused, and no SYN-ACK came.",
        "SYN 遭到拒绝，没有 SYN-ACK 到来。",
    ),
    Verdict.ABORTED: ("The end that sent the SYN reset it.", "发出 SYN 的一端自己把它复位了。"),
    Verdict.UNANSWERED: ("A SYN, and nothing from the other end.", "只有 SYN，另一端没有任何应答。"),
    Verdict.ODD: (
        "What came after the SYN is neither an answer nor a refusal.",
        "SYN 之后到来的，既不是应答，也不是拒绝。",
    ),
}

#: Everything else, by the name that templates and Python use; ``{...}`` is filled in.
TEXTS = {
    # -- the page
    "skip": ("To the steps", "跳到步骤"),
    "made_by": (
        "Made by selfconn {version}. This file is complete: it loads nothing and sends nothing.",
        "由 selfconn {version} 生成。本文件自成一体：不加载任何东西，也不发送任何东西。",
    ),
    "english": (
        "",
        "关于抓包内容的句子（原因、说明、数据）目前是英文；状态、事件和标志位沿用 RFC 9293 的名称。",
    ),
    "openings_shown": ("Openings on this page", "本页的连接"),
    "title_many": ("{n} openings of TCP connections", "共 {n} 次打开 TCP 连接"),
    "title_refused": ("{n} attempts to connect refused", "{n} 次连接尝试遭到拒绝"),
    "title_refused_one": ("1 attempt to connect refused", "1 次连接尝试遭到拒绝"),
    "title_none": ("No opening to show", "没有可以展示的连接"),
    "title_unsure": (
        "No opening to show in what was seen, which is not everything",
        "在看到的部分里没有可以展示的连接，但是看到的并非全部",
    ),
    "standing": (
        "{source} is connected to itself, since before frame {frame}",
        "{source} 与它自己相连，早在第 {frame} 帧之前",
    ),
    "standing_why": (
        "Its own segments acknowledge each other: one socket, at both ends.",
        "它自己的报文段互相确认：两端是同一个套接字。",
    ),
    "icmp_refused": (
        "{sender} refused {source} a connection to {destination}",
        "{sender} 拒绝了 {source} 到 {destination} 的连接",
    ),
    "semicolon": ("; ", "；"),
    "stop": (".", "。"),
    # -- modes
    "modes": ("Modes", "模式"),
    "lecture": ("Lecture", "讲课"),
    "predict": ("Predict", "预测"),
    "side": ("Side by side", "并排"),
    "letters": ("Letter and number keys", "启用字母和数字键"),
    # -- an opening
    "refused_same": ("each the same: a SYN, and a RST in answer", "每次都一样：一个 SYN，回来一个 RST"),
    "refused_table": ("Refused attempts", "遭到拒绝的尝试"),
    "refused_before": ("{n} attempts refused before it{first}", "此前有 {n} 次尝试遭到拒绝{first}"),
    "refused_before_one": ("1 attempt refused before it{first}", "此前有 1 次尝试遭到拒绝{first}"),
    "first": (", the first {span} earlier", "，第一次在 {span} 之前"),
    "more": ("{n} more", "另有 {n} 次"),
    "attempt": ("attempt", "第几次"),
    "time": ("time", "时间"),
    "source_port": ("source port", "源端口"),
    "one_lifeline": ("One socket, one lifeline", "一个套接字，一条生命线"),
    "two_lifelines": ("Two sockets, two lifelines", "两个套接字，两条生命线"),
    "ladder_label": (
        "Ladder diagram of {n} segments. The list of steps says the same in words.",
        "{n} 个报文段的时序图。步骤列表用文字说了同样的内容。",
    ),
    "port": ("port {port}", "端口 {port}"),
    "machine": ("The state machine of RFC 9293", "RFC 9293 的状态机"),
    "machine_label": (
        "State diagram. Walked through: {n} of its {all} changes of state, numbered as the steps are.",
        "状态图。{all} 种状态变化中走过了 {n} 种，编号就是步骤的编号。",
    ),
    "step_by_step": ("Step by step", "逐步讲解"),
    "through": ("Go through the steps", "浏览各个步骤"),
    "back": ("Back", "上一步"),
    "next": ("Next", "下一步"),
    "step": ("Step", "步骤"),
    "overview": ("overview", "概览"),
    "steps": (
        "{n} steps: each segment leaves a socket, then arrives at one.",
        "共 {n} 步：每个报文段先离开一个套接字，再到达一个套接字。",
    ),
    "how_to": (
        "Go through them with <kbd>→</kbd> and <kbd>←</kbd>, the buttons, or a swipe.",
        "用 <kbd>→</kbd> 和 <kbd>←</kbd>、按钮或者左右滑动来浏览。",
    ),
    "legend_solid": (
        "captured, or shown by packets that could not have been sent otherwise",
        "已抓到，或者由后来的报文段证明：否则它们不可能发出",
    ),
    "legend_dashed": (
        "inferred: it follows from the rules, but no packet proves it",
        "推断：按规则应当如此，但是没有报文段能证明",
    ),
    "legend_lost": ("arrival not known: lost, late or ignored", "不知道是否到达：丢失、迟到或者被忽略"),
    "heights": ("Heights are an order, not a scale.", "高度只表示先后，不表示时间长短。"),
    "to": ("to", "变为"),
    "stays": ("stays", "保持"),
    "how_known": ("How it is known", "依据"),
    "meaning": ("What it means", "这意味着什么"),
    "wireshark": ("What Wireshark says", "Wireshark 怎么说"),
    "wireshark_says": ("Wireshark says", "Wireshark 说"),
    "nothing_of_note": ("nothing of note", "没有特别之处"),
    "twice": ("The same frames, read twice", "同样的帧，两种读法"),
    "frame": ("frame", "帧"),
    "segment": ("segment", "报文段"),
    "ours": ("what it is", "它是什么"),
    "theirs": ("what Wireshark makes of it", "Wireshark 认为它是什么"),
    # -- a step
    "leaves": ("{flags} leaves {letter}", "{flags} 离开 {letter}"),
    "arrives": ("{flags} arrives at {letter}", "{flags} 到达 {letter}"),
    "on_its_way": ("{flags} on its way to {letter}", "{flags} 在前往 {letter} 的途中"),
    "crossed": ("It crossed frame {frame}.", "它与第 {frame} 帧交错而过。"),
    "captured": ("Captured: frame {frame}", "已抓到：第 {frame} 帧"),
    "shown": ("Shown by the packets after it", "由后面的报文段证明"),
    "inferred": ("Inferred: no packet proves it", "推断：没有报文段能证明"),
    "unknown": ("Not known", "不知道"),
    "kernel": ("Confirmed by the kernel", "内核证实"),
    "finding": ("Does not fit the rules of RFC 9293", "不符合 RFC 9293 的规则"),
    "field_frame": ("Frame", "帧"),
    "after_first": ("{frame}, {time} after the first SYN", "{frame}，第一个 SYN 之后 {time}"),
    "field_captured": ("Captured", "抓取时间"),
    "field_ends": ("From, to", "从、到"),
    "field_flags": ("Control bits", "标志位"),
    "field_seq": ("Sequence", "序列号"),
    "field_ack": ("Acknowledges", "确认号"),
    "field_window": ("Window", "窗口"),
    "field_data": ("Data", "数据"),
    "field_options": ("Options", "选项"),
    # -- the walk through the ports
    "walk": ("The walk through the ports", "源端口的轨迹"),
    "walk_to": ("To {destination}", "拨向 {destination}"),
    "walk_label": (
        "Source port of each attempt; the sentences above say the same in words.",
        "每次尝试的源端口；上面的句子用文字说了同样的内容。",
    ),
    "attempts": ("attempts", "尝试次数"),
    "walk_ports": ("Source port of each attempt.", "每次尝试的源端口。"),
    "walk_target": ("The dashed line is the target, port {port}", "虚线是目标端口 {port}"),
    "walk_hit": (
        "the ring is the attempt that got it as its source",
        "圆圈是恰好以它为源端口的那次尝试",
    ),
    "walk_beyond": (
        "In the shaded part attempts were counted, not noted one by one.",
        "阴影部分的尝试只计了数，没有逐一记录。",
    ),
    "odds": ("The odds.", "概率。"),
    "odds_label": (
        "Chance that one of so many attempts connects to itself. After those here: {now}.",
        "尝试若干次，其中一次连上自己的概率。到这里为止：{now}。",
    ),
    "odds_caption": (
        "The chance that one of so many attempts connects to itself; the ring is where this walk ended: {now}.",
        "尝试若干次，其中一次连上自己的概率；圆圈是这次轨迹结束的地方：{now}。",
    ),
    # -- the capture
    "capture": ("The capture", "抓包文件"),
    "by_verdict": ("Openings by verdict", "各种判定的次数"),
    "verdict": ("verdict", "判定"),
    "openings": ("openings", "次数"),
    "further": ("Further openings", "其余的连接"),
    "number": ("number", "编号"),
    "ends": ("from and to", "从、到"),
    "ends_of": ("{source} to {destination}", "{source} 到 {destination}"),
    "and_more": ("And {n} more.", "另有 {n} 次。"),
    "run": ("The run", "这次运行"),
}

#: What the script says; it fills in ``{...}`` as well.
SPOKEN = {
    "step_of": ("Step {n} of {all}", "第 {n} 步，共 {all} 步"),
    "opening_of": ("opening {n} of {all}", "第 {n} 次连接，共 {all} 次"),
    "overview": ("Overview", "概览"),
    "ladder": ("Ladder", "时序图"),
    # -- side by side
    "left": ("Left", "左边"),
    "right_side": ("Right", "右边"),
    "moment": ("Moment {n} of {all}", "第 {n} 个时刻，共 {all} 个"),
    "moments": ("Moment", "时刻"),
    "waits": ("waits", "等待"),
    "back": ("Back", "上一步"),
    "next": ("Next", "下一步"),
    # -- predict mode
    "ask_state": (
        "{happened}. {letter} is in {now}. Which state comes next?",
        "{happened}。{letter} 处于 {now}，接下来进入哪个状态？",
    ),
    "ask_segment": (
        "{happened}. {letter} is in {now} now. Which segment does it send?",
        "{happened}。{letter} 现在处于 {now}。它发送哪个报文段？",
    ),
    "comes": ("{what} comes", "收到 {what}"),
    "came": ("{what} came", "收到了 {what}"),
    "sends": ("{letter} sends {what}", "{letter} 发送 {what}"),
    "sent": ("{letter} sent {what}", "{letter} 发送了 {what}"),
    "or": (" or ", "或者 "),
    "nothing": ("nothing", "什么都不发"),
    "program_decides": (
        "No question here: the program decides what comes.",
        "这里没有问题：接下来发生什么由程序决定。",
    ),
    "nothing_changes": ("No question here: the state stays.", "这里没有问题：状态保持不变。"),
    "nobody_knows": (
        "No question here: nobody knows whether it arrived.",
        "这里没有问题：谁也不知道它是否到达。",
    ),
    "no_rule": (
        "No question here: RFC 9293 has no rule for what comes.",
        "这里没有问题：RFC 9293 没有对应的规则。",
    ),
    "all_asked": ("That was the last step.", "这是最后一步。"),
    "go_on": ("Go on", "继续"),
    "right": ("Right.", "正确。"),
    "rule_state": (
        "In {state}, when {when}, the state becomes {answer} (RFC 9293, {section}).",
        "在 {state} 中，{when} 时，状态变为 {answer}（RFC 9293，{section}）。",
    ),
    "rule_stays": (
        "In {state}, when {when}, the state stays (RFC 9293, {section}).",
        "在 {state} 中，{when} 时，状态保持不变（RFC 9293，{section}）。",
    ),
    "rule_segment": (
        "In {state}, {what} is answered by {segment} (RFC 9293, {section}).",
        "在 {state} 中，对 {what} 的应答是 {segment}（RFC 9293，{section}）。",
    ),
    "rule_drawn": (
        (
            "In {state}, {what} came, and {segment} was sent. Figure 7 (3.5) shows none; "
            "an ACK answers a SYN that was there already (RFC 9293, {section})."
        ),
        (
            "在 {state} 中收到 {what}，发出了 {segment}。图 7（3.5）里没有它；"
            "对已经收到过的 SYN，要用 ACK 应答（RFC 9293，{section}）。"
        ),
    ),
    "not_staying": (
        "It does not stay: in {state} the state changes when {when} (RFC 9293, {section}).",
        "状态不会保持不变：在 {state} 中，{when} 时状态会改变（RFC 9293，{section}）。",
    ),
    "not_this_state": (
        "Not {choice}: {state} becomes that when {other} (RFC 9293, {where}). Here {happened}.",
        "不是 {choice}：在 {state} 中，{other} 时才变成它（RFC 9293，{where}）。这里 {happened}。",
    ),
    "never_state": (
        "Not {choice}: nothing leads from {state} to {choice} in one step.",
        "不是 {choice}：没有任何事件能一步从 {state} 到 {choice}。",
    ),
    "not_this_segment": (
        "Not {choice}: in {state} {segment} answers only {causes} (RFC 9293, {where}). Here {happened}.",
        "不是 {choice}：在 {state} 中，{segment} 只用来应答 {causes}（RFC 9293，{where}）。这里 {happened}。",
    ),
    "never_segment": (
        "Not {choice}: in {state} nothing that comes is answered by {segment}.",
        "不是 {choice}：在 {state} 中，收到什么都不会用 {segment} 应答。",
    ),
    "not_nothing": (
        "Here {happened}, and in {state} that has an answer (RFC 9293, {section}).",
        "这里 {happened}，在 {state} 中对此有应答（RFC 9293，{section}）。",
    ),
    "not_as_drawn": (
        (
            "In figure 7 (3.5) nothing follows, but here something was captured: "
            "the SYN in what came was there already (RFC 9293, {section})."
        ),
        "在图 7（3.5）里什么都不发，但是这里抓到了应答：到来的报文段里的 SYN 早已收到过（RFC 9293，{section}）。",
    ),
    "score": (
        "{n} right at the first try, of {asked} asked; {all} in all.",
        "已问 {asked} 题，一次答对 {n} 题；共 {all} 题。",
    ),
    "score_label": ("Your score, as text", "你的得分（文本）"),
    "copy": ("Copy the score", "复制得分"),
    "copied": ("Copied.", "已复制。"),
    "copy_yourself": ("The score is selected: copy it with Ctrl+C.", "得分已选中：请用 Ctrl+C 复制。"),
    "line_right": ("step {step}: {answer}, right", "第 {step} 步：{answer}，答对"),
    "line_after": ("step {step}: {answer}, right after {wrong}", "第 {step} 步：{answer}，答错 {wrong} 之后答对"),
    "line_shown": ("step {step}: {answer}, not answered", "第 {step} 步：{answer}，没有回答"),
}

#: What can happen to a socket, as predict mode says it: what comes or is sent, else a whole clause.
EVENTS = {
    Event.PASSIVE_OPEN: ("{letter} begins to listen", "{letter} 开始监听"),
    Event.DELETE: ("{letter} has gone", "{letter} 已经不在"),
    Event.TIME_WAIT_TIMEOUT: ("2 MSL pass", "2 MSL 过去"),
    Event.SEND_SYN: ("a SYN", "SYN"),
    Event.SEND_SYN_ACK: ("a SYN-ACK", "SYN-ACK"),
    Event.SEND_EARLY_ACK: ("an ACK before its SYN", "早于自己 SYN 的 ACK"),
    Event.SEND_ACK: ("an ACK", "ACK"),
    Event.SEND_DATA: ("data", "数据"),
    Event.SEND_FIN: ("a FIN", "FIN"),
    Event.SEND_RST: ("a RST", "RST"),
    Event.ANSWER_RST: ("a RST in answer", "作为应答的 RST"),
    Event.RETRANSMIT: ("a segment again", "重传的报文段"),
    Event.RECEIVE_SYN: ("a SYN", "SYN"),
    Event.RECEIVE_SYN_ACK: ("a SYN-ACK", "SYN-ACK"),
    Event.RECEIVE_ACK_OF_SYN: ("an ACK of its SYN", "对自己 SYN 的 ACK"),
    Event.RECEIVE_ACK_OF_FIN: ("an ACK of its FIN", "对自己 FIN 的 ACK"),
    Event.RECEIVE_ACK: ("an ACK", "ACK"),
    Event.RECEIVE_FIN: ("a FIN", "FIN"),
    Event.RECEIVE_FIN_AGAIN: ("the same FIN again", "重复的 FIN"),
    Event.RECEIVE_NO_ACK: ("a segment without ACK", "没有 ACK 的报文段"),
    Event.RECEIVE_UNACCEPTABLE: ("a segment outside its window", "窗口之外的报文段"),
    Event.RECEIVE_OTHER_SYN: ("another SYN", "另一个 SYN"),
    Event.RECEIVE_BAD_ACK: ("an ACK of what was never sent", "对从未发送过的内容的 ACK"),
    Event.RECEIVE_RST: ("a RST", "RST"),
    Event.RECEIVE_BAD_RST: ("a RST that does not fit", "不相符的 RST"),
}


class Words(SimpleNamespace):
    """The texts of one language by their names; they are our own, so they may hold markup and count as safe.

    Besides TEXTS: ``lang``; ``english_words``, the attribute of what is English on a page that is not; ``headlines``
    and ``whys`` by verdict; ``spoken``, what the script says, and ``events``, how it names what happens to a socket.
    """

    def __init__(self, language: str) -> None:
        place = LANGUAGES.index(language)
        super().__init__(**{name: Markup(row[place]) for name, row in TEXTS.items()})  # noqa: S704 -- our own
        self.lang = language
        self.english_words = Markup("" if language == "en" else ' lang="en"')  # noqa: S704 -- our own
        self.headlines = {verdict: row[place] for verdict, row in HEADLINES.items()}
        self.whys = {verdict: row[place] for verdict, row in WHY.items()}
        self.spoken = {name: row[place] for name, row in SPOKEN.items()}
        self.events = {event: row[place] for event, row in EVENTS.items()}


@cache
def words(language: str) -> Words:
    """The texts of one of LANGUAGES."""
    return Words(language)
