# A gateway that speaks the control protocol and does nothing else. It says on its standard output
# what it was configured with.
#   fake.pl HOW gateway --network-fd N --control-fd N --log-fds N,N --folder PATH
use strict;
use warnings;

my $how = shift @ARGV;
shift @ARGV;
my %given = @ARGV;
open(my $network, '+<&=', $given{'--network-fd'}) or die "network: $!";
open(my $control, '+<&=', $given{'--control-fd'}) or die "control: $!";
my @logs = map { open(my $log, '+<&=', $_) or die "log: $!"; $log } split /,/, $given{'--log-fds'};
die 'two logs' unless @logs == 2;
binmode(STDOUT);
my $revision;
my $peer;

sub number { my $n = shift; my $out = ''; do { my $low = $n & 127; $n >>= 7;
    $out .= chr($n ? $low | 128 : $low) } while $n; $out }
sub parsed { my ($bytes, $n, $shift) = (shift, 0, 0);
    for my $byte (unpack 'C*', $bytes) { $n |= ($byte & 127) << $shift; $shift += 7;
        last unless $byte & 128 } $n }
sub say_it { my $message = shift; syswrite($peer, pack('N', length $message) . $message) }
sub exactly { my ($wanted, $bytes) = (shift, '');
    while (length $bytes < $wanted) {
        sysread($peer, $bytes, $wanted - length $bytes, length $bytes) or return undef }
    $bytes }

while (1) {
    my $watched = '';
    vec($watched, fileno $_, 1) = 1 for grep { defined } $network, $control, $peer;
    select($watched, undef, undef, undef);
    if (vec($watched, fileno $network, 1) && !sysread($network, my $frame, 70000)) {
        say_it("\x04" . number(700) . number(7)) if $peer;
        exit 0;
    }
    if (vec($watched, fileno $control, 1)) { undef $peer; accept($peer, $control) or die; next }
    next unless $peer && vec($watched, fileno $peer, 1);
    my $header = exactly(4);
    if (!defined $header) { undef $peer; next }
    my $message = exactly(unpack 'N', $header);
    if (ord $message == 0) {
        my $has = defined $revision ? "\x01" . number($revision) : "\x00";
        say_it("\x00" . number($how eq 'other-version' ? 99 : 2) . $has);
        next;
    }
    if (ord $message == 2) {
        say_it("\x05") unless $how eq 'hung';
        next;
    }
    my $asked = parsed(substr $message, 1);
    next if $how eq 'mute' && $asked > 1;
    if ($how eq 'refusing' && $asked > 1) {
        say_it("\x02" . number($asked) . number(4) . 'no: ');
        next;
    }
    $revision = $asked;
    syswrite(STDOUT, "$$ $asked " . unpack('H*', $message) . "\n");
    say_it("\x03");
    say_it("\x04" . number(300) . number(3));
    say_it("\x01" . number($asked));
    exit 3 if $how eq 'dying';
}
