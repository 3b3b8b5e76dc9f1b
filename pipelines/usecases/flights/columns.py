"""The columns of the flights' tables, their types and their zone."""

ZONE = "America/New_York"  # of local days and hours
INSTANT = "timestamp[us, UTC]"

FLIGHTS = {
    **dict.fromkeys(("year", "month", "day", "dep_time", "sched_dep_time", "dep_delay"), "int32"),
    **dict.fromkeys(("arr_time", "sched_arr_time", "arr_delay"), "int32"),
    **{"carrier": "string", "flight": "int32", "tailnum": "string", "origin": "string", "dest": "string"},
    **dict.fromkeys(("air_time", "distance", "hour", "minute"), "int32"),
    "time_hour": INSTANT,  # the hour of scheduled departure
}
WEATHER = {
    "origin": "string",
    **dict.fromkeys(("year", "month", "day", "hour"), "int32"),
    **dict.fromkeys(("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust"), "float64"),
    **dict.fromkeys(("precip", "pressure", "visib"), "float64"),
    "time_hour": INSTANT,
}
PLANES = {
    **{"tailnum": "string", "year": "int32", "type": "string", "manufacturer": "string", "model": "string"},
    **{"engines": "int32", "seats": "int32", "speed": "int32", "engine": "string"},
}
AIRPORTS = {
    **{"faa": "string", "name": "string", "lat": "float64", "lon": "float64", "alt": "int32", "tz": "int32"},
    **{"dst": "string", "tzone": "string"},
}
