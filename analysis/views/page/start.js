// The address may name a step and a mode.
if (selfconn.follow) selfconn.follow();
