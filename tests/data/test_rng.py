import numpy as np

from mindcv_hrnet.data.rng import Purpose, generator, uniforms


def test_same_key_same_numbers():
    assert uniforms(1, Purpose.SAMPLE, 2, 3, 5) == uniforms(1, Purpose.SAMPLE, 2, 3, 5)


def test_equals_numpys_philox():
    ours = generator(7, Purpose.MIX, epoch=3, index=5, part=2).random(4)
    philox = np.random.Philox(key=np.array([7, Purpose.MIX], np.uint64), counter=np.array([0, 2, 5, 3], np.uint64))
    assert (ours == np.random.Generator(philox).random(4)).all()


def test_every_part_of_the_key_counts():
    base = dict(seed=1, purpose=Purpose.SAMPLE, epoch=2, index=3, part=4)
    others = [{**base, "purpose": Purpose.ORDER}, *({**base, key: base[key] + 1} for key in base if key != "purpose")]
    draws = [tuple(generator(**key).random(3)) for key in (base, *others)]
    assert len(set(draws)) == 6


def test_streams_are_uniform_and_uncorrelated():
    draws = np.array([uniforms(0, Purpose.SAMPLE, 0, index, 4) for index in range(5000)])
    assert abs(draws.mean() - 0.5) < 0.01 and abs(draws.std() - 12**-0.5) < 0.01
    assert np.abs(np.corrcoef(np.hstack([draws[1:], draws[:-1]]).T) - np.eye(8)).max() < 0.06
