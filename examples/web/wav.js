// One channel of samples in [-1, 1] as a WAV of 16 bits, which every player reads.
export function wav(samples, rate) {
  const bytes = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, word) => [...word].forEach((c, i) => bytes.setUint8(at + i, c.charCodeAt(0)));
  text(0, 'RIFF');
  bytes.setUint32(4, 36 + 2 * samples.length, true);
  text(8, 'WAVEfmt ');
  bytes.setUint32(16, 16, true);
  bytes.setUint16(20, 1, true);         // PCM
  bytes.setUint16(22, 1, true);         // one channel
  bytes.setUint32(24, rate, true);
  bytes.setUint32(28, 2 * rate, true);  // bytes a second
  bytes.setUint16(32, 2, true);
  bytes.setUint16(34, 16, true);
  text(36, 'data');
  bytes.setUint32(40, 2 * samples.length, true);
  samples.forEach((x, i) =>
    bytes.setInt16(44 + 2 * i, Math.round(Math.max(-1, Math.min(1, x)) * 32767), true));
  return new Blob([bytes], {type: 'audio/wav'});
}

// The samples of a sound file that the browser can read, one channel at `rate`.
export async function readSound(name, buffer, rate) {
  let audio;
  try {
    audio = await new OfflineAudioContext(1, 1, rate).decodeAudioData(buffer);
  } catch {
    throw new Error(`${name}: expected a sound file that this browser plays (WAV, FLAC, MP3, ...)`);
  }
  const samples = new Float32Array(audio.length);
  for (let c = 0; c < audio.numberOfChannels; ++c)
    audio.getChannelData(c).forEach((x, i) => (samples[i] += x / audio.numberOfChannels));
  if (!samples.every(Number.isFinite))
    throw new Error(`${name}: expected numbers for samples, found NaN or infinity`);
  return samples;
}
