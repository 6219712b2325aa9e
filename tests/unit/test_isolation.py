"""What may the tags of a function ask for?"""

import pytest

from hearth.model.isolation import (
    ISOLATION_TAG,
    NETWORK_TAG,
    SANDBOX_TAG,
    Network,
    Tier,
    Wishes,
    refusal,
    wishes,
)


def test_tags_of_others_ask_for_nothing() -> None:
    assert wishes({"team": "blue", "sandbox": "runc"}) == Wishes()


def test_tags_name_a_tier_and_a_network() -> None:
    tags = {SANDBOX_TAG: "runsc", NETWORK_TAG: " NAT ", ISOLATION_TAG: "strict"}
    assert wishes(tags) == Wishes(Tier.RUNSC, Network.NAT, is_strict=True)


@pytest.mark.parametrize("name", [SANDBOX_TAG, NETWORK_TAG])
def test_what_there_is_not_is_told_with_what_there_is(name: str) -> None:
    with pytest.raises(ValueError, match=f"The tag {name} must be one of .*; it is 'firecracker'"):
        wishes({name: "firecracker"})


@pytest.mark.parametrize("tier", [Tier.ZYGOTE, Tier.BUBBLEWRAP, Tier.RUNC, Tier.CRUN, Tier.RUNSC])
def test_nobody_gets_less_isolation_than_the_platform_gives(tier: Tier) -> None:
    assert "less isolation" in refusal(Wishes(tier=Tier.PROCESS), tier, Network.NONE)


def test_a_kernel_of_ones_own_is_more_than_all_else() -> None:
    assert refusal(Wishes(tier=Tier.RUNSC), Tier.ZYGOTE, Network.NONE) == ""
    for weaker in (Tier.ZYGOTE, Tier.BUBBLEWRAP, Tier.RUNC):
        assert "runsc" in refusal(Wishes(tier=weaker), Tier.RUNSC, Network.NONE)


def test_among_those_with_the_hosts_kernel_functions_choose() -> None:
    assert refusal(Wishes(tier=Tier.CRUN), Tier.ZYGOTE, Network.NONE) == ""
    assert refusal(Wishes(tier=Tier.ZYGOTE), Tier.RUNC, Network.NONE) == ""


def test_the_hosts_network_is_for_the_platform_to_choose() -> None:
    asked = Wishes(network=Network.HOST)
    assert "--network host" in refusal(asked, Tier.ZYGOTE, Network.NAT)
    assert refusal(asked, Tier.ZYGOTE, Network.HOST) == ""
    assert refusal(Wishes(network=Network.NAT), Tier.ZYGOTE, Network.NONE) == ""
