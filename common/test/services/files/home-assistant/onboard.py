"""onboard.py BASE_URL TOKEN_FILE: the first user of a new Home Assistant, and a long-lived token.

The step core_config is left out on purpose: it adds integrations that call out.
"""
import asyncio
import os
import sys

import aiohttp

BASE, TOKEN_FILE = sys.argv[1], sys.argv[2]
CLIENT = BASE + "/"


async def post(session, path, **arguments):
    async with session.post(BASE + path, **arguments) as answer:
        if answer.status >= 400:
            raise SystemExit(f"{path} answers {answer.status}: {await answer.text()}")
        return await answer.json()


async def main():
    async with aiohttp.ClientSession() as session:
        user = {
            "client_id": CLIENT,
            "name": "Test",
            "username": "test",
            "password": "test-password",
            "language": "en",
        }
        code = (await post(session, "/api/onboarding/users", json=user))["auth_code"]
        grant = {"client_id": CLIENT, "grant_type": "authorization_code", "code": code}
        access = (await post(session, "/auth/token", data=grant))["access_token"]
        headers = {"Authorization": f"Bearer {access}"}
        await post(session, "/api/onboarding/analytics", json={}, headers=headers)
        last = {"client_id": CLIENT, "redirect_uri": CLIENT}
        await post(session, "/api/onboarding/integration", json=last, headers=headers)
        async with session.ws_connect(BASE + "/api/websocket") as socket:
            await socket.receive_json()
            await socket.send_json({"type": "auth", "access_token": access})
            await socket.receive_json()
            command = {
                "id": 1,
                "type": "auth/long_lived_access_token",
                "client_name": "ha-ingestor",
                "lifespan": 365,
            }
            await socket.send_json(command)
            token = (await socket.receive_json())["result"]
    # Whoever finds the file finds all of it.
    with open(TOKEN_FILE + ".new", "w", encoding="ascii") as file:
        file.write(token)
    os.replace(TOKEN_FILE + ".new", TOKEN_FILE)


asyncio.run(main())
