"""Intervals of shares as SQL, for evaluations and marts."""

SHARE_DECIMALS = 6  # so that the last bits, which differ between processors, reach no digest


def wilson_sql(hits: str, total: str, name: str = "negative") -> str:
    """SQL for the share of `hits` in `total` and its 95 % interval, all null where `total` is 0.

    Wilson's score interval (Wilson 1927, JASA 22:209), which holds for few posts and for shares
    near 0 and 1 too.
    """
    z = 1.959964
    share, whole = f"({hits} / {total}::DOUBLE)", f"({total}::DOUBLE)"
    middle = f"({share} + {z**2 / 2} / {whole})"
    reach = f"{z} * sqrt({share} * (1 - {share}) / {whole} + {z**2 / 4} / {whole} ** 2)"
    scale = f"(1 + {z**2} / {whole})"

    def column(value: str, column_name: str) -> str:
        bounded = f"least(greatest(round({value}, {SHARE_DECIMALS}), 0), 1)"
        return f"CASE WHEN {total} > 0 THEN {bounded} END AS {column_name}"

    low, high = (f"({middle} {sign} {reach}) / {scale}" for sign in "-+")
    rounded = f"round({share}, {SHARE_DECIMALS})"
    return ", ".join(
        (
            column(share, f"{name}_share"),
            column(f"least({low}, {rounded})", f"{name}_low_share"),
            column(f"greatest({high}, {rounded})", f"{name}_high_share"),
        )
    )
