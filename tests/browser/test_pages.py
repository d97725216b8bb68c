"""The pages in a real browser, without scripts: on a phone and a desk, in both languages, in light and dark."""

from pathlib import Path
from typing import Any

import pytest

from resolver.core.record import Value
from tests.support.browser import Browser, browser
from tests.support.http_node import PRODUCT, http_node, small_world

PHONE, DESK = 360, 1100
CHINESE, ENGLISH = "zh-CN,zh;q=0.9", "en-GB,en;q=0.9"


def looks_right(seen: dict[str, Any]) -> None:
    """Nothing sticks out of the window, everything can be read."""
    assert seen["whole"] <= seen["width"], "the page is wider than the window"
    assert seen["texts"], "there is nothing to read"
    faint = [text for text in seen["texts"] if text["contrast"] < 4.5]
    assert not faint
    small = [text for text in seen["texts"] if text["size"] < 12]
    assert not small
    outside = [text for text in seen["texts"] if text["right"] > seen["width"] + 1]
    assert not outside


async def show(tab: Browser, url: str, width: int, language: str, scheme: str = "light") -> str:
    seen = await tab.visit(url, width, language, scheme)
    looks_right(seen)
    picture = await tab.picture()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 5000, "the page is nearly empty"
    text: str = seen["shown"]
    return text


async def test_every_page_can_be_read_on_every_screen(tmp_path: Path) -> None:
    pages = [
        ("/", "工业标识解析节点", "A resolution node for industrial identifiers"),
        (f"/{PRODUCT}?noredirect", "已验证", "Verified"),
        ("/0.NA/88.118.8?noredirect", "苏州精工电气有限公司", "苏州精工电气有限公司"),
        ("/88.118/plain", "展开全部", "Show all"),
        ("/88.118/6901234567893", "校验位应为 2", "should be 2"),
        ("/88.118/gone", "该标识已注销", "This identifier was deleted"),
        ("/88.118.8/" + "LONG-" * 40, "前往 http://127.0.0.1:8000", "Ask http://127.0.0.1:8000"),
        ("/91.5/x", "本节点不负责这个前缀", "This node does not answer for that prefix"),
        ("/88.118%EF%BC%8FABC", "您要找的是不是", "Did you mean"),
    ]
    async with http_node(tmp_path) as node, browser() as tab:
        for path, chinese, english in pages:
            assert chinese in await show(tab, node.url + path, PHONE, CHINESE)
            assert english in await show(tab, node.url + path, DESK, ENGLISH, "dark")
        assert english in await show(tab, node.url + path, PHONE, ENGLISH, "dark")
        assert chinese in await show(tab, node.url + path, DESK, CHINESE)
        assert {url for url in tab.requested if not url.startswith(node.url)} == set(), "a page fetched something from elsewhere"
        refused = [complaint for complaint in tab.complaints if "status of" not in complaint]
        assert not refused, "the browser refused a part of a page"


async def test_the_record_page_shows_the_chain_from_the_anchor_down(tmp_path: Path) -> None:
    async with http_node(tmp_path) as node, browser() as tab:
        text = await show(tab, f"{node.url}/{PRODUCT}?noredirect&lang=zh", PHONE, ENGLISH)
        places = [
            text.index(level) for level in ("信任锚\n0.0/0.0", "前缀 88\n国家顶级节点", "前缀 88.118\n江苏综合型二级节点", "本记录")
        ]
        assert places == sorted(places)
        assert "持有者\n江苏综合型二级节点（前缀 88.118）" in text
        assert "for administrators only" not in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_failed_verdict_is_the_first_thing_one_sees(tmp_path: Path, scheme: str) -> None:
    world = small_world()
    world.put(PRODUCT, Value(1, "URL", b"http://evil.example/"), Value(2, "NAME", b"A trap"), signed_by="0.NA/88.118.8")
    async with http_node(tmp_path, world) as node, browser() as tab:
        text = await show(tab, f"{node.url}/{PRODUCT}", PHONE, CHINESE, scheme)
        assert text.index("验证失败：签名不是前缀密钥所作") < text.index(PRODUCT) < text.index("在此处断开")
        assert "因此没有跳转到记录中的网址" in text
        assert "A trap" not in text, "what was not verified stays folded away"
        assert all("evil.example" not in url for url in tab.requested)


async def test_a_stale_answer_and_a_node_cut_off(tmp_path: Path) -> None:
    async with http_node(tmp_path, role="recursive") as node, browser() as tab:
        node.recursion.stale = True
        text = await show(tab, f"{node.url}/{PRODUCT}?noredirect", PHONE, ENGLISH, "dark")
        assert text.index("Verified") < text.index("An older copy") < text.index("YE3-132M-4")
        node.recursion.down = True
        assert "暂时无法解析" in await show(tab, f"{node.url}/{PRODUCT}?noredirect", DESK, CHINESE)
