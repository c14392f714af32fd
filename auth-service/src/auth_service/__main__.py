"""`python -m auth_service`"""

from auth_service.app import NAME, create_app
from auth_service.settings import Settings
from shared.server import serve
from shared.settings import load_settings

if __name__ == "__main__":
    serve(NAME, load_settings(Settings), create_app)
