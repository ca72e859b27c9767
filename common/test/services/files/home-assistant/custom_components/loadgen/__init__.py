"""State changes from inside of Home Assistant, faster than its API takes them.

Service loadgen.burst: `count` changes over `entities` sensors at `rate` a second (0: as fast as it
goes), the event loop let go every `chunk` changes. It answers when all are written.
"""
import asyncio
import time


async def async_setup(hass, config):
    async def burst(call):
        count = int(call.data.get("count", 1000))
        entities = int(call.data.get("entities", 100))
        rate = float(call.data.get("rate", 0))
        chunk = int(call.data.get("chunk", 50))
        began = time.monotonic()
        for number in range(count):
            sensor = number % entities
            attributes = {
                "unit_of_measurement": "W",
                "device_class": "power",
                "state_class": "measurement",
                "friendly_name": f"Load {sensor}",
                "seq": number,
            }
            hass.states.async_set(f"sensor.load_{sensor}", str(number), attributes)
            if number % chunk == chunk - 1:
                pause = began + (number + 1) / rate - time.monotonic() if rate else 0
                await asyncio.sleep(max(0, pause))

    hass.services.async_register("loadgen", "burst", burst)
    return True
