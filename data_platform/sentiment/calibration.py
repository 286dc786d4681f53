"""Draws what people say of posts by what the model says of them."""

import pyarrow as pa

# Okabe and Ito 2008: told apart with any color vision.
NEGATIVE, POSITIVE = "#d55e00", "#0072b2"


def calibration_plot(rows: pa.Table) -> str:
    """Return sentiment_calibration as SVG: shares of negative and positive posts by mean score.

    A model that people agree with rises from left to right. Altair and its renderer load only here.
    """
    import altair
    import vl_convert

    points = [
        {
            "place": f"{row['feed']}, {row['truth']}",
            "compound": row["mean_compound"],
            "people say": label,
            **{name: row[f"{label}_{name}"] for name in ("share", "low_share", "high_share")},
            "posts": row["post_count"],
        }
        for row in rows.to_pylist()
        for label in ("negative", "positive")
    ]
    base = altair.Chart(altair.InlineData(values=points)).encode(
        x=altair.X("compound:Q", title="Mean score", scale=altair.Scale(domain=[-1, 1])),
        color=altair.Color(
            "people say:N",
            scale=altair.Scale(domain=["negative", "positive"], range=[NEGATIVE, POSITIVE]),
        ),
    )
    reach = base.mark_rule(opacity=0.5).encode(
        y=altair.Y("low_share:Q", title="Share of posts", scale=altair.Scale(domain=[0, 1])),
        y2="high_share:Q",
    )
    lines = base.mark_line(point=True).encode(y=altair.Y("share:Q"))
    chart = (
        (reach + lines)
        .properties(width=260, height=170)
        .facet(facet=altair.Facet("place:N", title=None), columns=3)
    )
    return str(vl_convert.vegalite_to_svg(chart.to_dict()))
