from tests.airflow_fixtures import airflow, load

__all__ = ["airflow", "load"]
