"""Flightdeck on one machine: installation, the supervisor, and a client for Airflow's API."""
