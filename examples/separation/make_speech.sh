#!/usr/bin/env bash
# Makes speech to train and score separation with: voices of Debian 12 packages, 8 kHz, one folder a
# voice, no voice and no verse in two of train, validation and test.
#   examples/separation/make_speech.sh OUT
# needs: apt-get install bible-kjv bible-kjv-text espeak-ng flite sox libsox-fmt-all
#        asterisk-core-sounds-{en,es,fr,it,ru}-wav asterisk-prompt-it-menardi-wav
#        fillets-ng-data-{cs,nl}
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: make_speech.sh OUT" >&2; exit 2; }
out=$1
for program in bible espeak-ng flite sox; do
  command -v "$program" > /dev/null || { echo "make_speech.sh: $program is missing" >&2; exit 2; }
done
mkdir -p "$out"
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Verses without their numbers; voice number k reads each 2000th from k on.
bible -f gen1:1-rev22:21 | sed -E 's/^[^ ]+ //; s/[][]//g' > "$work/verses.txt"
verses() { awk -v k="$1" 'NR % 2000 == k' "$work/verses.txt"; }

# FILES on stdin, joined to one file of a voice: 8 kHz, pauses cut to 0.3 s, level -3 dB.
voice() {  # PART NAME
  mkdir -p "$out/$1/$2"
  sort > "$work/list"
  mapfile -t files < "$work/list"
  [ ${#files[@]} -gt 0 ] || { echo "make_speech.sh: $2: no files" >&2; exit 2; }
  sox -R "${files[@]}" -r 8000 -c 1 -b 16 "$out/$1/$2/speech.wav" gain -6 rate 8000 \
    silence -l 1 0.1 0.5% -1 0.3 0.5% gain -n -3
}

number=1
accents=(en-us en-gb en-gb-scotland en-gb-x-rp en-029)
espeak() {  # PART VARIANT...: each at a pitch and a speed of its own
  local part=$1 variant
  shift
  for variant in "$@"; do
    espeak-ng -v "${accents[number % 5]}+$variant" -p $((30 + number * 17 % 41)) \
      -s $((140 + number * 23 % 51)) -w "$work/raw.wav" "$(verses $number)"
    echo "$work/raw.wav" | voice "$part" "espeak-$variant"
    number=$((number + 1))
  done
}
espeak train m1 m3 m4 m6 m7 m8 f1 f2 f4 adam Alex Alicia Andrea Andy antonio belinda benjamin boris \
  caleb david Denis Diogo ed Gene gustave Henrique Hugo iven Jacky john Lee marcelo Marco Mario max \
  Michael Mike Nguyen pablo paul pedro quincy rob steph zac anika grandpa klatt klatt2 norbert \
  sandro travis
espeak validation f3 m2 aunty edward miguel Tweaky victor klatt4
espeak test f5 m5 Annie kaukovalta linda michel grandma robert shelby Storm

read_by_flite() {  # PART VOICE...
  local part=$1 name
  shift
  for name in "$@"; do
    verses $number > "$work/text.txt"
    verses $((number + 1)) >> "$work/text.txt"
    flite -voice "$name" -f "$work/text.txt" -o "$work/raw.wav"
    echo "$work/raw.wav" | voice "$part" "flite-$name"
    number=$((number + 2))
  done
}
read_by_flite train awb kal16 rms
read_by_flite test slt

# Recorded speech. What trains is under CC BY-SA 3.0 or CC BY 3.0 (Allison Smith, June Wallack, Marco
# Menardi and Paola Dal Zot, Carlo Flora; Maxim of ivrvoice.ru chooses the weights); what only tests
# is under the GPL 2 (Fish Fillets NG).
prompts() {  # FOLDER: what is spoken
  find -L "/usr/share/asterisk/sounds/$1" -name '*.wav' ! -path '*/silence/*' ! -name '*beep*' \
    ! -name '*tone*' ! -name 'tt-*'
}
{ prompts en_US_f_Allison; prompts es_MX_f_Allison; } | voice train recorded-allison
prompts fr_CA_f_June | voice train recorded-june
prompts it_IT_f_Menardi | voice train recorded-menardi
prompts it_IT_m_Carlo | voice train recorded-carlo
prompts ru_RU_f_IvrvoiceRU | voice validation recorded-ivrvoice
for language in cs nl; do
  for fish in m v; do
    find /usr/share/games/fillets-ng/sound -path "*/$language/*-$fish-*.ogg" |
      voice test "recorded-fish-$language-$fish"
  done
done
du -sh "$out"/{train,validation,test} | sed 's/^/made /'
