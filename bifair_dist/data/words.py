"""Words for the generated catalogue: per genre six topics, each with its own nouns, and patterns of titles."""

from __future__ import annotations

TOPICS: dict[str, tuple[str, ...]] = {
    "Science Fiction": (
        "Starship Captain Hyperdrive Fleet Cosmonaut Orbit",
        "Robot Android Circuit Automaton Machine Algorithm",
        "Alien Invasion Mothership Contact Visitor Signal",
        "Time-Traveller Paradox Chronometer Timeline Wormhole Century",
        "Mars Colony Terraformer Dome Settler Crater",
        "Clone Genome Mutation Laboratory Embryo Virus",
    ),
    "Mystery": (
        "Detective Murder Alibi Corpse Inspector Clue",
        "Thief Diamond Heist Safecracker Forgery Museum",
        "Spy Cipher Defector Embassy Dossier Courier",
        "Poison Manor Butler Inheritance Widow Testament",
        "Kidnapping Ransom Hostage Witness Sheriff Fugitive",
        "Courtroom Verdict Lawyer Juror Confession Trial",
    ),
    "Romance": (
        "Wedding Bride Groom Proposal Bouquet Honeymoon",
        "Duke Ballroom Countess Scandal Governess Carriage",
        "Cowboy Ranch Sweetheart Rodeo Homecoming Prairie",
        "Doctor Nurse Heartbeat Hospital Surgeon Kiss",
        "Seaside Lighthouse Summer-Love Beach Sailor Lagoon",
        "Christmas Mistletoe Snowfall Bakery Sleigh Fireside",
    ),
    "History": (
        "Roman Empire Legion Caesar Senate Gladiator",
        "Napoleon Waterloo Cavalry Regiment Emperor Campaign",
        "Viking Longship Norse Raider Fjord Saga",
        "Medieval Crusade Knight Plague Cathedral Peasant",
        "Revolution Parliament Republic Constitution Treaty Uprising",
        "Railway Factory Industrial Steam Coal Strike",
    ),
    "Cooking": (
        "Bread Sourdough Baker Loaf Flour Oven",
        "Pasta Risotto Italian Tomato Basil Olive",
        "Curry Spice Masala Chutney Cardamom Tandoor",
        "Dessert Chocolate Pastry Cake Caramel Cream",
        "Vegetarian Garden-Kitchen Lentil Salad Harvest Bean",
        "Barbecue Grill Smokehouse Brisket Charcoal Marinade",
    ),
    "Travel": (
        "Himalaya Trek Summit Sherpa Glacier Basecamp",
        "Sahara Caravan Desert Oasis Nomad Dune",
        "Amazon Rainforest Jungle Canoe River Expedition",
        "Paris Cafe Boulevard Seine Montmartre Metro",
        "Island Sailing Archipelago Harbour Yacht Voyage",
        "Railway-Journey Siberia Locomotive Station Passenger Sleeper",
    ),
    "Poetry": (
        "Sonnet Lyric Verse Stanza Ode Elegy",
        "Haiku Blossom Moon Frog Reed Autumn",
        "Ballad Bard Minstrel Chorus Refrain Song",
        "Epic Muse Hexameter Hero Odyssey Lament",
        "Psalm Prayer Angel Hymn Grace Pilgrim",
        "Free-Verse Street City Neon Rain Protest",
    ),
    "Philosophy": (
        "Ethics Virtue Duty Justice Morality Character",
        "Logic Proof Paradox Reason Inference Truth",
        "Stoicism Tranquillity Seneca Fate Discipline Meditation",
        "Existence Freedom Absurd Anguish Being Nothingness",
        "Mind Consciousness Perception Self Qualia Memory",
        "Politics State Liberty Sovereign Contract Citizen",
    ),
}
ADJECTIVES = [
    "Last",
    "Silent",
    "Golden",
    "Forgotten",
    "Broken",
    "Hidden",
    "Burning",
    "Distant",
    "Crimson",
    "Secret",
    "Wandering",
    "Lost",
    "Bright",
    "Quiet",
    "Old",
]
PATTERNS = (
    "The {adjective} {one}",
    "{one} and {two}",
    "No {one} for the {two}",
    "The {one} of the {adjective} {two}",
    "Beyond the {adjective} {one}: {two} Stories",
    "{adjective} {one}, {adjective2} {two}",
)
# Titles that tell neither genre nor topic: what a text encoder has to go on for the planted genres.
VAGUE = ("Volume {n}", "Collected Works {n}", "Selected Pieces, Part {n}", "Untitled {n}", "Notes {n}", "Edition {n}")
_PLACES = (
    "Harbour",
    "Northgate",
    "Alder",
    "Meridian",
    "Foxglove",
    "Kestrel",
    "Millstone",
    "Lantern",
    "Bluebird",
    "Quarry",
)
PUBLISHERS = tuple(f"{place} {kind}" for kind in ("Press", "House") for place in _PLACES)
